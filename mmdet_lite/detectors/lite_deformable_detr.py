"""Lite-Deformable-DETR: Deformable DETR with the interleaved encoder."""

from mmdet.models.dense_heads import DeformableDETRHead
from mmdet.models.detectors import DeformableDETR
from mmdet.registry import MODELS

from .lite_transformer import LiteTransformerMixin


@MODELS.register_module()
class LiteDeformableDETR(LiteTransformerMixin, DeformableDETR):
    """mmdet's ``DeformableDETR`` with the encoder and attention of Lite DETR.

    Takes any config of ``DeformableDETR``, with box refinement and in two stages too;
    see :class:`LiteTransformerMixin` for what it adds.
    """

    bbox_head_class = DeformableDETRHead
