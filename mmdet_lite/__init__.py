"""Lite DETR for MMDetection 3.x.

Importing the package registers its modules in mmdet's registries, so that configs of
mmdet can name them; the default scope stays ``mmdet``. Where the package is installed
other than in editable mode, configs can also build on its own, as
``mmdet_lite::lite_detr/CONFIG.py``.
"""

from .openmmlab import check_openmmlab, doctor_is_called
from .version import __version__

if not doctor_is_called():
    # What the package needs is looked for before anything is imported of it.
    check_openmmlab()

    from mmengine.config.utils import MODULE2PACKAGE

    from . import backbones, datasets, dense_heads, detectors, engine, layers
    from .checkpoint.local_file import protect_local_files
    from .checkpoint.safe_globals import allow_mmengine_checkpoints

    allow_mmengine_checkpoints()
    protect_local_files()
    # mmengine looks for configs in the packages that it knows only.
    MODULE2PACKAGE["mmdet_lite"] = "mmdet_lite"

__all__ = [
    "__version__",
    "backbones",
    "datasets",
    "dense_heads",
    "detectors",
    "engine",
    "layers",
]
