"""What the commands share: their arguments, configs, checks before a run, exits."""

from ..config_file import read_config, require_test_set
from .config import (
    add_config_arguments,
    add_config_options,
    add_model_arguments,
    load_config,
)
from .device import require_operators_of_losses
from .drawing import provide_drawing
from .epochs import set_epochs
from .exit import exit_on_config_error
from .image_size import set_image_size
from .numbers import positive_int
from .own_data import own_data_sources, use_own_data
from .paths import require_writable_file, require_writable_folder
from .preflight import add_problem_options, check_data, print_problems
from .resume import resume_training
from .tta import use_test_time_augmentation
from .watch import draw_validation, log_to_tensorboard

__all__ = [
    "add_config_arguments",
    "add_config_options",
    "add_model_arguments",
    "add_problem_options",
    "check_data",
    "draw_validation",
    "exit_on_config_error",
    "load_config",
    "log_to_tensorboard",
    "own_data_sources",
    "positive_int",
    "print_problems",
    "provide_drawing",
    "read_config",
    "require_operators_of_losses",
    "require_test_set",
    "require_writable_file",
    "require_writable_folder",
    "resume_training",
    "set_epochs",
    "set_image_size",
    "use_own_data",
    "use_test_time_augmentation",
]
