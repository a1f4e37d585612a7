"""Lite DETR for MMDetection 3.x.

Importing the package registers its modules in mmdet's registries, so that configs of
mmdet can name them; the default scope stays ``mmdet``.
"""

from . import dense_heads, detectors, layers
from .checkpoint.safe_globals import allow_mmengine_checkpoints
from .version import __version__

allow_mmengine_checkpoints()

__all__ = ["__version__", "dense_heads", "detectors", "layers"]
