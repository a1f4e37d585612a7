"""Read and write checkpoint files, with PyTorch's protection on."""

import argparse
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

from ..errors import ConfigError
from ..messages import first_few
from .durable import write_durably
from .local_file import UnreadableCheckpointError, read_protected
from .safe_globals import allow_official_checkpoints


def read_official(
    path: str | Path, ema: bool = False
) -> tuple[Mapping[str, Tensor], argparse.Namespace | None]:
    """Read the weights of an official checkpoint, with PyTorch's protection on.

    Args:
        path: path of the file.
        ema: the averaged weights instead of the last ones.

    Returns:
        tuple: weights by official name, and the command line of their training.

    Raises:
        ConfigError: the file does not exist or is no official checkpoint.
    """
    allow_official_checkpoints()
    checkpoint = read_protected(Path(path), map_location="cpu", weights_only=True)
    key = "ema_model" if ema else "model"
    return _weights_under(key, checkpoint, path), checkpoint.get("args")


def read_mmengine(path: str | Path) -> dict:
    """Read a checkpoint of mmengine, as mmengine does.

    Raises:
        ConfigError: the file does not exist or is no checkpoint of mmengine.
    """
    try:
        checkpoint = CheckpointLoader.load_checkpoint(
            str(path), map_location="cpu", logger="silent"
        )
    except UnreadableCheckpointError:
        raise
    except Exception as error:  # A URL may fail in many ways.
        raise ConfigError(
            f"{path} cannot be read as a checkpoint: {error}".splitlines()[0]
        ) from error
    _weights_under("state_dict", checkpoint, path)
    return checkpoint


def require_checkpoint(path: str | Path) -> None:
    """Refuse a path where there is no file; a URL is left to who reads it.

    Raises:
        ConfigError: the file does not exist.
    """
    if "://" not in str(path) and not Path(path).is_file():
        raise ConfigError(f"the checkpoint does not exist: {path}")


def _weights_under(key: str, checkpoint: Any, path: str | Path) -> Mapping[str, Tensor]:
    """The state dict under a key, which has to be one."""
    if not isinstance(checkpoint, dict) or key not in checkpoint:
        found = (
            f"a dict with {first_few(map(repr, checkpoint), 10) or 'nothing'}"
            if isinstance(checkpoint, dict)
            else f"a {type(checkpoint).__name__}"
        )
        raise ConfigError(
            f"{path} has no weights under {key!r}, it is {found}; official checkpoints "
            "have theirs under 'model' (averaged ones under 'ema_model'), mmengine's "
            "under 'state_dict'"
        )
    weights = checkpoint[key]
    if not isinstance(weights, Mapping) or not all(
        isinstance(tensor, Tensor) for tensor in weights.values()
    ):
        raise ConfigError(f"{key!r} of {path} does not hold names with tensors")
    return weights


def write_checkpoint(checkpoint: dict, path: str | Path) -> None:
    """Write a checkpoint, whole or not at all, in a folder that need not exist."""
    content = io.BytesIO()
    torch.save(checkpoint, content)
    write_durably(path, content.getvalue())
