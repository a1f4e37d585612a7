"""Deformable attention operators: tensors only, nothing above them is known here."""

from .dispatch import BackendUnavailableError, available_backends
from .functional import (
    key_aware_deformable_attention,
    multi_scale_deformable_attention,
)

__all__ = [
    "BackendUnavailableError",
    "available_backends",
    "key_aware_deformable_attention",
    "multi_scale_deformable_attention",
]
