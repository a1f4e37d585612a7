"""How a process computes: what it does with freed memory, and in which precision."""

from .memory import keep_freed_memory
from .mixed_precision import (
    has_bfloat16_instructions,
    predict_in_float32,
    warn_of_slow_autocast,
)

__all__ = [
    "has_bfloat16_instructions",
    "keep_freed_memory",
    "predict_in_float32",
    "warn_of_slow_autocast",
]
