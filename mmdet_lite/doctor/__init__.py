"""What is installed, what is wrong with it, and what to run.

Nothing here needs torch or OpenMMLab's packages, nor that this package can be imported.
"""
