"""Lite-H-DETR: H-DETR with the interleaved encoder."""

from mmdet.models.dense_heads import DeformableDETRHead
from mmdet.registry import MODELS

from .h_deformable_detr import HDeformableDETR
from .lite_transformer import LiteTransformerMixin


@MODELS.register_module()
class LiteHDeformableDETR(LiteTransformerMixin, HDeformableDETR):
    """:class:`HDeformableDETR` with the encoder and attention of Lite DETR.

    Takes any config of ``HDeformableDETR``; see :class:`LiteTransformerMixin` for what
    it adds.
    """

    bbox_head_class = DeformableDETRHead
    own_arguments = frozenset({"num_one2many_queries", "k_one2many", "lambda_one2many"})
