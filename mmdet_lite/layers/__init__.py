"""Modules of Lite DETR: key-aware attention and the interleaved encoder."""

from .interleaved_encoder import LiteDetrTransformerEncoder
from .key_aware_attention import KeyAwareDeformableAttention

__all__ = ["KeyAwareDeformableAttention", "LiteDetrTransformerEncoder"]
