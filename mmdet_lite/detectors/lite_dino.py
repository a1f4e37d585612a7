"""Lite-DINO: DINO with the interleaved encoder."""

from mmdet.models.dense_heads import DINOHead
from mmdet.models.detectors import DINO
from mmdet.registry import MODELS

from .lite_transformer import LiteTransformerMixin


@MODELS.register_module()
class LiteDINO(LiteTransformerMixin, DINO):
    """mmdet's ``DINO`` with the encoder and attention of Lite DETR.

    Takes any config of ``DINO``; see :class:`LiteTransformerMixin` for what it adds.
    """

    bbox_head_class = DINOHead
