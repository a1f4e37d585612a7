"""The device that a command was asked to run on."""

import torch

from ..errors import ConfigError
from ..messages import first_line


def existing_device(name: str | torch.device) -> torch.device:
    """The device of a name, where PyTorch can use it.

    Args:
        name: as ``--device`` has it.

    Raises:
        ConfigError: there is none, or this PyTorch cannot use it.
    """
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ConfigError(
            f"--device {name} cannot be used: {first_line(error)}"
        ) from error
