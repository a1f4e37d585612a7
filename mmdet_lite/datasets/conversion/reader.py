"""Read pictures and their label files one by one, through supervision."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..image_problems import ImageReader, all_image_problems, upright_size
from ..problems import Problem
from .files import LabelFiles, Labelled
from .problems import CUT, DIFFICULT, FROM_ZERO, LABELS, NAMESAKES, OUTSIDE, UNLABELLED
from .voc import read_voc
from .yolo import read_yolo

if TYPE_CHECKING:
    from supervision import Detections

# Rounded fractions and pixels reach a little beyond the picture.
_ROUNDING = 1.0


@dataclass
class ReadPicture:
    """A picture with its boxes and its width and height in pixels."""

    boxes: "Detections"
    size: tuple[int, int]


class LabelReader:
    """Reads what was found; what is wrong gathers in ``problems``.

    Args:
        files: pictures and label files.
    """

    def __init__(self, files: LabelFiles) -> None:
        self.files = files
        self.classes = list(files.classes or ())
        self.problems: list[Problem] = []
        self.sizes: dict[Path, tuple[int, int]] = {}

    def look_at_pictures(self, num_workers: int) -> None:
        """Find out the sizes of those that can be read, in so many processes."""
        paths = {row.image: None for rows in self.files.splits.values() for row in rows}
        sizes = {path: _size_of(path) for path in paths}
        rows = [
            {"file_name": str(path), "width": width, "height": height}
            for path, (width, height) in sizes.items()
        ]
        problems = all_image_problems(rows, ImageReader(""), num_workers)
        self.problems += problems
        faulty = {problem.image for problem in problems}
        self.sizes = {
            path: size
            for index, (path, size) in enumerate(sizes.items())
            if index not in faulty
        }

    def read_all(self, rows: list[Labelled]) -> dict[Path, ReadPicture]:
        """The boxes of those pictures that have no fault."""
        named: dict[str, Path] = {}
        found = {}
        for row in rows:
            first = named.setdefault(row.image.name, row.image)
            if first != row.image:
                message = f"{row.image} is called as {first} is"
                self.problems.append(Problem(NAMESAKES, message))
                continue
            found[row.image] = self._read(row)
        return {path: read for path, read in found.items() if read is not None}

    def _read(self, row: Labelled) -> ReadPicture | None:
        from supervision import Detections

        size = self.sizes.get(row.image)
        if size is None:
            return None
        if row.labels is None:
            self.problems.append(Problem(UNLABELLED, str(row.image)))
            return ReadPicture(Detections.empty(), size)
        try:
            if self.files.format == "YOLO":
                num_values = self.files.num_keypoint_values
                boxes = read_yolo(row.labels, size, num_values)
            else:
                boxes, self.classes, problems = read_voc(row.labels, self.classes, size)
                self.problems += problems
                if problems:
                    return None
        except (ValueError, OverflowError, OSError) as error:
            self.problems.append(Problem(LABELS, f"{row.labels}: {error}"))
            return None
        unknown = sorted({*boxes.class_id} - {*range(len(self.classes))})
        if unknown:
            message = (
                f"{row.labels} has class {unknown[0]}, but there are "
                f"{len(self.classes)}, numbered from 0"
            )
            self.problems.append(Problem(LABELS, message))
            return None
        outside = _outside(boxes.xyxy, size)
        if outside.any():
            corners = boxes.xyxy[outside][0].round(1).tolist()
            message = (
                f"{row.labels} has {outside.sum()}, the first from {corners[:2]} to "
                f"{corners[2:]} in a picture of {size[0]}×{size[1]}"
            )
            self.problems.append(Problem(OUTSIDE, message))
            return None
        if "iscrowd" in boxes.data and any(boxes.data["iscrowd"]):
            message = f"{row.labels} has {sum(boxes.data['iscrowd'])}"
            self.problems.append(Problem(DIFFICULT, message))
        return ReadPicture(boxes, size)

    def count_pixels_from_zero(
        self, splits: dict[str, dict[Path, ReadPicture]]
    ) -> None:
        """Undo the subtraction of 1 where it leads beyond the corner."""
        reads = [read for found in splits.values() for read in found.values()]
        at_zero = [
            path
            for found in splits.values()
            for path, read in found.items()
            if ((read.boxes.xyxy[:, :2] >= -1) & (read.boxes.xyxy[:, :2] < 0)).any()
        ]
        if at_zero:
            message = f"boxes of {len(at_zero)} pictures begin at 0: {at_zero[0]}"
            self.problems.append(Problem(FROM_ZERO, message))
            for read in reads:
                read.boxes.xyxy[:, :2] += 1

    def sort_classes(self, splits: dict[str, dict[Path, ReadPicture]]) -> list[str]:
        """Names in the order of their numbers, or of the alphabet without numbers."""
        if self.files.classes is not None:
            return self.classes
        classes = sorted(self.classes)
        places = np.array([classes.index(name) for name in self.classes], dtype=int)
        for found in splits.values():
            for read in found.values():
                read.boxes.class_id = places[read.boxes.class_id]
        return classes

    def keep_inside(self, found: dict[Path, ReadPicture]) -> None:
        """Cut boxes at the edge of their picture."""
        from supervision import clip_boxes

        for path, read in found.items():
            inside = clip_boxes(read.boxes.xyxy, read.size)
            beyond = np.abs(inside - read.boxes.xyxy).max(initial=0)
            if beyond > _ROUNDING:
                message = f"{path} has one that reaches {beyond:.0f} pixels beyond it"
                self.problems.append(Problem(CUT, message))
            read.boxes.xyxy = inside


def _size_of(path: Path) -> tuple[int, int]:
    try:
        return upright_size(path)
    except Exception:  # Of files of other kinds almost anything is raised.
        return (0, 0)  # Whoever decodes it says why.


def _outside(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Which boxes cannot be of a picture: their centre is not in it, or it in them."""
    low, high = boxes[:, :2], boxes[:, 2:]
    centre = (low + high) / 2
    # Of a hundredth as well, which fractions of three digits may be off.
    slack = np.maximum(_ROUNDING, 0.01 * np.array(size))
    too_large = high - low > size + 2 * slack
    elsewhere = (centre < -slack) | (centre > size + slack)
    return (too_large | elsewhere).any(axis=1)
