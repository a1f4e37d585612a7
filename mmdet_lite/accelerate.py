"""Importing this module makes every deformable model of mmdet faster on the CPU.

The one switch, in a config of any of them::

    custom_imports = dict(imports=["mmdet_lite.accelerate"], allow_failed_imports=False)

See :mod:`mmdet_lite.ops.mmcv_operator` for what it replaces.
"""

from .ops.mmcv_operator import replace_mmcv_operator

replace_mmcv_operator()
