"""Read a data set of label files, and say all that is wrong with it."""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmengine.utils import digit_version

from ...errors import ConfigError
from ..problems import Problem, listed, serious
from .files import LabelFiles
from .problems import ABSENT, ALIKE, IN_TWO, LOST
from .reader import LabelReader

if TYPE_CHECKING:
    from supervision import DetectionDataset

# Older ones move the far edge of Pascal VOC's boxes as well. Newer ones may have moved
# the functions that read label files, which supervision does not export.
_SUPERVISION = ("0.31.2", "0.32")


@dataclass
class LabelledData:
    """A data set that was read, without the pictures that have a fault.

    Attributes:
        format: ``'Pascal VOC'`` or ``'YOLO'``.
        splits: supervision's data set of ``'train'``, ``'val'`` and ``'test'``, as far
            as there are such sets; all have the same classes in the same order.
        problems: what is wrong.
    """

    format: str
    splits: dict[str, "DetectionDataset"]
    problems: list[Problem]

    def summary(self) -> str:
        """One line: format, pictures and boxes of each set, names of the classes."""
        counts = [
            f"{split} {len(part)} pictures with "
            f"{sum(map(len, part.annotations.values()))} boxes"
            for split, part in self.splits.items()
        ]
        classes = self.splits["train"].classes
        return f"{self.format}: {', '.join(counts)}, of {listed(classes)}"


def read_labels(
    files: LabelFiles, val_fraction: float | None = None, num_workers: int = 1
) -> LabelledData:
    """Read the label files of a data set, and its pictures as training does.

    Args:
        files: what :func:`~mmdet_lite.datasets.conversion.find_labels` found.
        val_fraction: the part of the training pictures, drawn at random, but the same
            at every call, that becomes the validation set where there is none.
        num_workers: processes that read pictures.

    Raises:
        ConfigError: supervision is missing, a set is, or the fraction is out of range
            or not asked for.
    """
    _require(files, val_fraction)
    from supervision import DetectionDataset

    reader = LabelReader(files)
    reader.look_at_pictures(num_workers)
    splits = {
        split: reader.read_all(rows) for split, rows in files.splits.items() if rows
    }
    if files.format == "Pascal VOC":
        reader.count_pixels_from_zero(splits)
    classes = reader.sort_classes(splits)
    for found in splits.values():
        reader.keep_inside(found)
    data = {
        split: DetectionDataset(
            classes, [*map(str, found)], {str(p): row.boxes for p, row in found.items()}
        )
        for split, found in splits.items()
    }
    if val_fraction is not None:
        parts = data["train"].split(1 - val_fraction, random_state=0)
        data["train"], data["val"] = parts
        for split, part in zip(("train", "val"), parts, strict=True):
            part.image_paths.sort()
            if not len(part):
                raise ConfigError(
                    f"--val-fraction {val_fraction} leaves no picture for {split}"
                )
    problems = [*files.problems, *reader.problems, *_problems_of(data, classes)]
    return LabelledData(files.format, data, problems)


def _require(files: LabelFiles, val_fraction: float | None) -> None:
    if not files.splits.get("train"):
        lost = [problem for problem in files.problems if problem.kind is LOST]
        faults = [*serious(files.problems), *lost]
        reason = f": {faults[0].message} ({faults[0].kind.title})" if faults else ""
        raise ConfigError(f"there are no pictures to train on{reason}")
    has_val = bool(files.splits.get("val"))
    if val_fraction is None and not has_val and not files.splits.get("test"):
        raise ConfigError(
            "there is no validation set: --val-fraction 0.2 takes a fifth of the "
            "training pictures"
        )
    if val_fraction is not None and has_val:
        raise ConfigError("--val-fraction is for data without a validation set")
    if val_fraction is not None and not 0 < val_fraction < 1:
        raise ConfigError(
            f"--val-fraction must be between 0 and 1, but got {val_fraction}"
        )
    _require_supervision()


def _require_supervision() -> None:
    try:
        from supervision import __version__ as version
    except ImportError:
        version = "0"
    least, below = _SUPERVISION
    if not digit_version(least) <= digit_version(version) < digit_version(below):
        found = "is missing" if version == "0" else f"is {version}"
        raise ConfigError(
            f"the conversion needs supervision, which {found}: "
            f"pip install 'supervision>={least},<{below}'"
        )


def _problems_of(
    data: dict[str, "DetectionDataset"], classes: list[str]
) -> list[Problem]:
    problems = []
    folded = Counter("".join(name.lower().split()) for name in classes)
    alike = [name for name in classes if folded["".join(name.lower().split())] > 1]
    if alike:
        problems.append(Problem(ALIKE, listed(alike)))
    boxes = [found.class_id for found in data["train"].annotations.values()]
    learned = {classes[number] for numbers in boxes for number in numbers}
    absent = [name for name in classes if name not in learned]
    if absent:
        problems.append(Problem(ABSENT, listed(absent)))
    seen: dict[str, str] = {}
    for split, part in data.items():
        for path in part.image_paths:
            if path in seen:
                message = f"{path} is of {seen[path]} and {split}"
                problems.append(Problem(IN_TWO, message))
            seen[path] = split
    return problems
