"""Detectors of mmdet with the encoder and attention of Lite DETR."""

from .lite_deformable_detr import LiteDeformableDETR
from .lite_dino import LiteDINO
from .lite_transformer import LiteTransformerMixin

__all__ = ["LiteDINO", "LiteDeformableDETR", "LiteTransformerMixin"]
