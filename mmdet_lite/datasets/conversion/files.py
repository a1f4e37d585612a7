"""Pictures of a data set, the label file of each, and the set it belongs to."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..local_files import files_below
from ..problems import Problem

SPLITS = ("train", "val", "test")

_SPLIT_NAMES = {
    **{"train": "train", "training": "train", "val": "val", "valid": "val"},
    **{"validation": "val", "test": "test", "testing": "test"},
}
_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True)
class Labelled:
    """A picture and its label file.

    Attributes:
        image: path of the picture.
        labels: path of its label file; None where it has none.
    """

    image: Path
    labels: Path | None


@dataclass
class LabelFiles:
    """What was found of a data set, unread.

    Attributes:
        format: ``'Pascal VOC'`` or ``'YOLO'``.
        splits: pictures of ``'train'``, ``'val'`` and ``'test'``, as far as there are
            such sets, in the order of their paths.
        classes: names in the order of their numbers; None where the label files name
            them themselves.
        num_keypoint_values: of YOLO's pose labels, which follow a box.
        problems: what is wrong with the files, as far as it is seen from outside.
    """

    format: str
    splits: dict[str, list[Labelled]]
    classes: tuple[str, ...] | None = None
    num_keypoint_values: int = 0
    problems: list[Problem] = field(default_factory=list)


def images_in(folder: Path) -> list[Path]:
    """Pictures of a folder and of those inside, sorted."""
    return sorted(
        path for path in _files_in(folder) if path.suffix.lower() in _SUFFIXES
    )


def files_in(folder: Path, suffix: str) -> list[Path]:
    """Files with a suffix of a folder and of those inside, sorted."""
    return sorted(path for path in _files_in(folder) if path.suffix.lower() == suffix)


def text_of(file: Path) -> str:
    """What is in a text file."""
    # Editors of Windows put a byte order mark first.
    return file.read_text(encoding="utf-8-sig")


def stem_of(name: str) -> str:
    """A picture's name without its folder and its suffix, if it has one."""
    path = Path(name)
    return path.stem if path.suffix.lower() in _SUFFIXES else path.name


def split_of(path: Path, root: Path) -> str | None:
    """The set that a folder on the way to a file names, ``train2017`` for one."""
    for part in path.relative_to(root).parts[:-1]:
        split = _SPLIT_NAMES.get(part.lower().rstrip("0123456789"))
        if split:
            return split
    return None


def _files_in(folder: Path) -> Iterator[Path]:
    for path in files_below(folder):
        hidden = any(
            part.startswith(".") or part == "__MACOSX"
            for part in path.relative_to(folder).parts
        )
        if not hidden:
            yield path
