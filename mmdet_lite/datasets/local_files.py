"""What of a data set lies on this machine, where it can be looked at."""

import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmdet.datasets import CocoDataset

from ..errors import ConfigError
from .image_problems import ImageReader

# Of mmengine's backends, the second by its older name.
_LOCAL = ("local", "disk")


def is_local(path: str, backend_args: Mapping[str, Any] | None = None) -> bool:
    """Whether mmengine reads a path from this machine's disks.

    Args:
        path: of a file or folder.
        backend_args: of whoever reads it; a backend that they name comes before the
            path's own, and may map paths that look like local ones.
    """
    backend = (backend_args or {}).get("backend")
    return backend in _LOCAL if backend is not None else "://" not in path


def files_below(folder: Path) -> Iterator[Path]:
    """Files of a folder and of those inside, of linked ones too, in order.

    Folders inside that may not be read, ``lost+found`` for one, are passed over with a
    warning.

    Args:
        folder: path; one that does not exist has none.

    Raises:
        ConfigError: the folder may not be read.
    """
    if not folder.is_dir():
        return
    try:
        paths = sorted(folder.iterdir())
    except PermissionError as error:
        raise ConfigError(f"the folder {folder} may not be read") from error
    yield from _files_below(paths, frozenset({folder.resolve()}))


def _files_below(paths: list[Path], around: frozenset[Path]) -> Iterator[Path]:
    for path in paths:
        # Where a link leads may not be looked at: pathlib raises, os.path says no.
        if os.path.isfile(path):
            yield path
        # A link may lead to a folder that it lies in.
        elif os.path.isdir(path) and (inside := path.resolve()) not in around:
            try:
                below = sorted(path.iterdir())
            except PermissionError:
                warnings.warn(
                    f"the folder {path} may not be read and is passed over",
                    stacklevel=2,
                )
                continue
            yield from _files_below(below, around | {inside})


def image_reader(
    dataset: CocoDataset, settings: Mapping[str, Any]
) -> ImageReader | None:
    """How a data set reads its images.

    Args:
        dataset: that has them.
        settings: arguments of its pipeline's ``LoadImageFromFile``, or attributes,
            which have the same names.

    Returns:
        None where they are not on this machine.
    """
    folder = dataset.data_prefix.get("img", "")
    backend_args = settings.get("backend_args") or settings.get("file_client_args")
    if not is_local(folder, backend_args):
        return None
    return ImageReader(
        folder,
        settings.get("color_type", "color"),
        settings.get("imdecode_backend", "cv2"),
    )
