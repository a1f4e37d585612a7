"""What of a data set lies on this machine, where it can be looked at."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmdet.datasets import CocoDataset

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


def files_below(folder: str | Path) -> Iterator[Path]:
    """Files of a folder and of those inside, of linked ones too, each folder once."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        # A link may lead to a folder that is around it.
        seen.add(os.path.realpath(place))
        folders[:] = [
            name
            for name in sorted(folders)
            if os.path.realpath(os.path.join(place, name)) not in seen
        ]
        for path in (Path(place, name) for name in names):
            if path.is_file():
                yield path


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
