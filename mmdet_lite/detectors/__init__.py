"""Detectors of mmdet with the encoder and attention of Lite DETR, and H-DETR."""

from .h_deformable_detr import HDeformableDETR
from .lite_deformable_detr import LiteDeformableDETR
from .lite_dino import LiteDINO
from .lite_h_deformable_detr import LiteHDeformableDETR
from .lite_transformer import LiteTransformerMixin

__all__ = [
    "HDeformableDETR",
    "LiteDINO",
    "LiteDeformableDETR",
    "LiteHDeformableDETR",
    "LiteTransformerMixin",
]
