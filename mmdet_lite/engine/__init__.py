"""What the command-line tools share: configs, checks before a run, memory."""

from .config import (
    add_config_arguments,
    add_model_arguments,
    load_config,
    read_config,
)
from .memory import keep_freed_memory
from .mixed_precision import (
    has_bfloat16_instructions,
    predict_in_float32,
    warn_of_slow_autocast,
)
from .preflight import check_data
from .run import exit_on_config_error

__all__ = [
    "add_config_arguments",
    "add_model_arguments",
    "check_data",
    "exit_on_config_error",
    "has_bfloat16_instructions",
    "keep_freed_memory",
    "load_config",
    "predict_in_float32",
    "read_config",
    "warn_of_slow_autocast",
]
