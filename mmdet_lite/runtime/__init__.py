"""How processes compute: memory, precision, speed of predictions, several of them."""

from .memory import keep_freed_memory
from .memory_need import warn_of_large_images
from .mixed_precision import (
    has_bfloat16_instructions,
    predict_in_float32,
    warn_of_slow_autocast,
)
from .optimize import inference_dtype, optimize_for_inference
from .process_group import process_group

__all__ = [
    "has_bfloat16_instructions",
    "inference_dtype",
    "keep_freed_memory",
    "optimize_for_inference",
    "predict_in_float32",
    "process_group",
    "warn_of_large_images",
    "warn_of_slow_autocast",
]
