"""Read a checkpoint from disk: whole, and under PyTorch's protection.

onedl-mmengine reads what is refused once more without protection, and lets any file
call ``getattr``. Local files are read here in its place, the same on both.
"""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import CheckpointLoader

from ..errors import ConfigError
from .safe_globals import undeclared_globals

# How a zip archive starts, which is what torch.save writes since PyTorch 1.6.
_ZIP = b"PK\x03\x04"


class UnreadableCheckpointError(ConfigError):
    """A file is no checkpoint, is damaged, or asks for more than plain data."""


def protect_local_files() -> None:
    """Have mmengine read local files whole and under PyTorch's protection only.

    Files behind a URL stay with mmengine, which reads them unprotected.
    """
    CheckpointLoader.register_scheme("", load_from_local, force=True)


def load_from_local(
    filename: str, map_location: str | torch.device | Callable | None = None
) -> dict:
    """Load a checkpoint of mmengine from a local file.

    Args:
        filename: path of the file; ``~`` is the home folder.
        map_location: as of ``torch.load``.

    Returns:
        dict: what the file holds.

    Raises:
        UnreadableCheckpointError: there is no such file, it is damaged or not written
            to its end, it holds a type that is not declared safe, or no dict.
    """
    # mmengine's log says by the name of this function where a file came from.
    checkpoint = read_protected(Path(filename).expanduser(), map_location)
    if not isinstance(checkpoint, dict):
        raise UnreadableCheckpointError(
            f"{filename} holds a {type(checkpoint).__name__}, but a checkpoint is a "
            "dict with weights"
        )
    return checkpoint


def peek(path: Path) -> dict | None:
    """Load a checkpoint without reading, or checking, its weights.

    Args:
        path: of the file.

    Returns:
        dict: what it holds; None where it is no checkpoint or cannot be read.
    """
    try:
        with path.open("rb") as file:
            archive = file.read(len(_ZIP)) == _ZIP
        content = torch.load(path, map_location="cpu", mmap=archive, weights_only=True)
    except Exception:  # Of files of other kinds almost anything is raised.
        return None
    return content if isinstance(content, dict) else None


def read_protected(
    path: Path,
    map_location: str | torch.device | Callable | None = None,
    weights_only: bool | None = None,
) -> Any:
    """Read a file of ``torch.save``, after it was checked to be whole.

    Args:
        path: of the file.
        map_location: as of ``torch.load``.
        weights_only: as of ``torch.load``.

    Raises:
        UnreadableCheckpointError: as :func:`load_from_local`, but for the dict.
    """
    require_undamaged(path)
    try:
        return torch.load(path, map_location=map_location, weights_only=weights_only)
    except Exception as error:  # Of files of other kinds almost anything is raised.
        raise UnreadableCheckpointError(_why_not(path, error)) from error


def require_undamaged(path: Path) -> None:
    """Refuse a file that is not what was written, down to a single bit.

    ``torch.save`` stores a CRC-32 of every record, and ``torch.load`` does not look at
    it. Files that were written without, or before PyTorch 1.6, are taken as they are.

    Args:
        path: of the file.

    Raises:
        UnreadableCheckpointError: there is no such file, it is empty, truncated or
            damaged.
    """
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise UnreadableCheckpointError(f"the checkpoint {kind}: {path}")
    with path.open("rb") as file:
        start = file.read(len(_ZIP))
    if not start:
        raise UnreadableCheckpointError(f"the checkpoint {path} is empty")
    if start != _ZIP:
        return
    try:
        with zipfile.ZipFile(path) as archive:
            has_checksums = any(record.CRC for record in archive.infolist())
            damaged = archive.testzip() if has_checksums else None
    except Exception as error:  # zipfile has several for what it cannot follow.
        raise UnreadableCheckpointError(
            f"the checkpoint {path} is truncated or damaged: {error}"
        ) from error
    if damaged is not None:
        raise UnreadableCheckpointError(
            f"the checkpoint {path} is damaged: its record {damaged} does not have the "
            "checksum that was written with it"
        )


def _why_not(path: Path, error: Exception) -> str:
    """One line on a file that PyTorch does not read, without its advice to trust it."""
    unsafe = undeclared_globals(path)
    if unsafe:
        return (
            f"{path} is refused: it asks for {', '.join(unsafe)}, and a checkpoint may "
            "hold weights, numbers and text only, since anything else can run code"
        )
    lines = str(error).splitlines() or [""]
    # Where PyTorch explains its protection, what it met stands in a line of its own.
    met = [line for line in lines if "GLOBAL" in line or "global" in line]
    reason = met[-1].strip() if met else lines[0]
    reason = reason.split(". Please use")[0].split("This is an internal")[0].strip()
    return (
        f"{path} cannot be read as a checkpoint: {type(error).__name__}"
        f"{': ' if reason else ''}{reason}"
    )
