"""Lite-Grounding-DINO: Grounding DINO with the interleaved encoder."""

from mmdet.models.dense_heads import GroundingDINOHead
from mmdet.models.detectors import GroundingDINO
from mmdet.registry import MODELS

from .lite_transformer import LiteTransformerMixin


@MODELS.register_module()
class LiteGroundingDINO(LiteTransformerMixin, GroundingDINO):
    """mmdet's ``GroundingDINO`` with the encoder and attention of Lite DETR.

    Takes any config of ``GroundingDINO``. What of image and text is interleaved says
    :class:`~mmdet_lite.layers.LiteGroundingDinoTransformerEncoder`; in the decoder the
    attention to the image is key-aware, the one to the text as it was. See
    :class:`LiteTransformerMixin` for the rest.
    """

    encoder_type = "LiteGroundingDinoTransformerEncoder"
    bbox_head_class = GroundingDINOHead
