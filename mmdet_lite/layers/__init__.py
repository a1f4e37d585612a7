"""Modules of Lite DETR: key-aware attention and the interleaved encoders."""

from .interleaved_encoder import LiteDetrTransformerEncoder
from .interleaved_grounding_encoder import LiteGroundingDinoTransformerEncoder
from .key_aware_attention import KeyAwareDeformableAttention

__all__ = [
    "KeyAwareDeformableAttention",
    "LiteDetrTransformerEncoder",
    "LiteGroundingDinoTransformerEncoder",
]
