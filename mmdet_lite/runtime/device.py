"""The device that a command was asked to run on."""

import torch

from ..errors import ConfigError


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
        reason = str(error).splitlines()[0]
        raise ConfigError(f"--device {name} cannot be used: {reason}") from error
