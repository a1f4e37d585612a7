"""Read and write checkpoint files, with PyTorch's protection on."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

from ..errors import ConfigError
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
    checkpoint = _read(
        path, lambda: torch.load(path, map_location="cpu", weights_only=True)
    )
    key = "ema_model" if ema else "model"
    return _weights_under(key, checkpoint, path), checkpoint.get("args")


def read_mmengine(path: str | Path) -> dict:
    """Read a checkpoint of mmengine, as mmengine does.

    Raises:
        ConfigError: the file does not exist or is no checkpoint of mmengine.
    """
    checkpoint = _read(
        path,
        lambda: CheckpointLoader.load_checkpoint(
            str(path), map_location="cpu", logger="silent"
        ),
    )
    _weights_under("state_dict", checkpoint, path)
    return checkpoint


def require_checkpoint(path: str | Path) -> None:
    """Refuse a path where there is no file; a URL is left to who reads it.

    Raises:
        ConfigError: the file does not exist.
    """
    if "://" not in str(path) and not Path(path).is_file():
        raise ConfigError(f"the checkpoint does not exist: {path}")


def _read(path: str | Path, load: Callable[[], Any]) -> Any:
    require_checkpoint(path)
    try:
        return load()
    except Exception as error:  # Of files of other kinds almost anything is raised.
        raise ConfigError(
            f"{path} cannot be read as a checkpoint: {error}".splitlines()[0]
        ) from error


def _weights_under(key: str, checkpoint: Any, path: str | Path) -> Mapping[str, Tensor]:
    """The state dict under a key, which has to be one."""
    if not isinstance(checkpoint, dict) or key not in checkpoint:
        found = (
            f"a dict with {', '.join(map(repr, list(checkpoint)[:10])) or 'nothing'}"
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
    """Write a checkpoint, in a folder that need not exist."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, path)
