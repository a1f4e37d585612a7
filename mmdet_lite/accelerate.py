"""Importing this module makes every deformable model of mmdet faster.

The one switch, in a config of any of them::

    custom_imports = dict(imports=["mmdet_lite.accelerate"], allow_failed_imports=False)

See :mod:`mmdet_lite.ops.accelerate` for what it replaces.
"""

from .ops.accelerate import accelerate_mmcv

accelerate_mmcv()
