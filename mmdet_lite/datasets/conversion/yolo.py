"""Data sets of YOLO's layout: a text file for each picture, a line for each box."""

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ...errors import ConfigError
from ...messages import first_line
from ..problems import Problem, listed, shown
from .files import (
    SPLITS,
    LabelFiles,
    Labelled,
    files_in,
    images_in,
    split_of,
    text_of,
)
from .problems import UNPAIRED, shared_labels

if TYPE_CHECKING:
    from supervision import Detections

_NAMES_FILE = "classes.txt"
_DESCRIPTION = "data.yaml"
_KEYS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


def find_yolo(source: Path) -> LabelFiles | None:
    """Pictures and label files that a YAML file describes, or ``classes.txt``.

    Args:
        source: the YAML file, or its folder.

    Returns:
        What was found; None where there is no such file.

    Raises:
        ConfigError: the file is broken, if it is named or ``data.yaml``, or it names
            folders that are not there.
    """
    if source.is_file():
        return _described(source, _description(source, required=True))
    for file in (source / _DESCRIPTION, *sorted(source.glob("*.y*ml"))):
        if file.is_file() and (description := _description(file)):
            return _described(file, description)
    for file in (source / _NAMES_FILE, source / "labels" / _NAMES_FILE):
        if file.is_file():
            names = [line.strip() for line in text_of(file).splitlines()]
            classes = _classes([name for name in names if name], file)
            return _by_folder(source, classes, 0)
    return None


def read_yolo(
    path: Path, size: tuple[int, int], num_keypoint_values: int = 0
) -> "Detections":
    """Read the boxes of a picture; a polygon gives the box around it.

    Args:
        path: of the label file.
        size: width and height of the picture in pixels, set upright.
        num_keypoint_values: numbers that follow a box, in pose labels.

    Returns:
        Boxes, (x1, y1, x2, y2) in pixels from the picture's corner.

    Raises:
        ValueError: a line is none of a label file.
    """
    from supervision.dataset.formats.yolo import yolo_annotations_to_detections

    lines = [line for line in text_of(path).splitlines() if line.strip()]
    if num_keypoint_values:
        rows = [line.split() for line in lines]
        pose = 5 + num_keypoint_values
        lines = [" ".join(row[:5] if len(row) == pose else row) for row in rows]
    return yolo_annotations_to_detections(lines, size, with_masks=False)


def _description(file: Path, required: bool = False) -> dict[str, Any] | None:
    try:
        content = yaml.safe_load(text_of(file))
    except (yaml.YAMLError, ValueError) as error:
        # Others of a folder need not be about the data.
        if not required and file.name != _DESCRIPTION:
            return None
        raise ConfigError(f"{file} is no YAML: {first_line(error)}") from error
    if isinstance(content, dict) and "names" in content:
        return content
    if required:
        raise ConfigError(f"{file} has no names of classes")
    return None


def _described(file: Path, description: dict[str, Any] | None) -> LabelFiles:
    assert description is not None
    classes = _classes(description["names"], file)
    count = description.get("nc", len(classes))
    if count != len(classes):
        raise ConfigError(
            f"{file} has nc {shown(count)}, but {len(classes)} names: {listed(classes)}"
        )
    num_values = _num_keypoint_values(description.get("kpt_shape"), file)
    entries = {
        split: next((description[key] for key in keys if description.get(key)), None)
        for split, keys in _KEYS.items()
    }
    if not any(entries.values()):
        return _by_folder(file.parent, classes, num_values)
    images = {
        split: _images_of(entry, file, description.get("path"))
        for split, entry in entries.items()
        if entry
    }
    return _labelled(images, classes, num_values)


def _by_folder(root: Path, classes: tuple[str, ...], num_values: int) -> LabelFiles:
    """Sets by the folders that name them; the rest is one to train on."""
    images: dict[str, list[Path]] = {}
    for path in images_in(root):
        images.setdefault(split_of(path, root) or "train", []).append(path)
    return _labelled(images, classes, num_values)


def _labelled(
    images: dict[str, list[Path]], classes: tuple[str, ...], num_values: int
) -> LabelFiles:
    labels = {path: _labels_of(path) for paths in images.values() for path in paths}
    owners: dict[Path | None, list[Path]] = defaultdict(list)
    for path, file in labels.items():
        owners[file].append(path)
    shared = {file for file, paths in owners.items() if file and len(paths) > 1}
    splits = {
        split: [
            Labelled(path, labels[path])
            for path in images[split]
            if labels[path] not in shared
        ]
        for split in SPLITS
        if split in images
    }
    problems = [shared_labels(file, owners[file]) for file in sorted(shared)]
    problems += [
        Problem(UNPAIRED, str(file))
        for folder in sorted({path.parent for path in labels})
        for file in _unpaired(folder)
    ]
    return LabelFiles("YOLO", splits, classes, num_values, problems)


def _labels_of(image: Path) -> Path | None:
    """The label file: in ``labels`` instead of ``images``, or beside the picture."""
    for folder in (_label_folder(image.parent), image.parent):
        file = folder / f"{image.stem}.txt"
        if file.is_file():
            return file
    return None


def _label_folder(folder: Path) -> Path:
    parts = list(folder.parts)
    for index in reversed(range(len(parts))):
        if parts[index] == "images":
            parts[index] = "labels"
            return Path(*parts)
    return folder


def _unpaired(folder: Path) -> list[Path]:
    labels = _label_folder(folder)
    if not labels.is_dir():
        return []
    stems = {path.stem for path in images_in(folder)}
    return [
        file
        for file in files_in(labels, ".txt")
        if file.parent == labels and file.stem not in stems and file.name != _NAMES_FILE
    ]


def _classes(names: Any, file: Path) -> tuple[str, ...]:
    """Names by number; supervision takes numbers that are left out for closed up."""
    if isinstance(names, dict):
        rows = {str(key).strip(): name for key, name in names.items()}
        wanted = [str(number) for number in range(len(rows))]
        if set(rows) != set(wanted):
            raise ConfigError(
                f"{file} must number its names from 0 on without a gap, but has "
                f"{listed(rows)}"
            )
        names = [rows[number] for number in wanted]
    if not isinstance(names, list) or not names:
        raise ConfigError(f"names of {file} must be a list, but are {shown(names)}")
    for name in names:
        # YAML reads `no` and `on` as truth values.
        if isinstance(name, bool) or not isinstance(name, str | int | float):
            raise ConfigError(
                f"{file} has the name {shown(name)}, but a text is expected: put it in "
                "quotes"
            )
    classes = tuple(str(name).strip() for name in names)
    twice = [name for name in classes if classes.count(name) > 1]
    if twice:
        raise ConfigError(f"{file} names several classes {listed(set(twice))}")
    return classes


def _num_keypoint_values(shape: Any, file: Path) -> int:
    if shape is None:
        return 0
    if (
        not isinstance(shape, list)
        or len(shape) != 2
        or not all(type(number) is int and number > 0 for number in shape)
    ):
        raise ConfigError(f"kpt_shape of {file} must be two numbers, but is {shape!r}")
    return shape[0] * shape[1]


def _images_of(entry: Any, file: Path, base: Any) -> list[Path]:
    """Pictures of a set: of a folder, a list of pictures, or several of them."""
    entries = entry if isinstance(entry, list) else [entry]
    found: list[Path] = []
    for text in entries:
        place = _place(str(text), file.parent, str(base or ""))
        if place is None:
            raise ConfigError(f"{file} names {text}, which is not there")
        found += images_in(place) if place.is_dir() else _listed_images(place)
    return sorted(set(found))


def _place(text: str, root: Path, base: str) -> Path | None:
    """Where a folder or file is that may be named as it was on another machine."""
    parts = Path(text).parts
    candidates = [root / base / text, root / text]
    if ".." in parts[:1]:
        # Roboflow writes ../train/images for a folder that is beside its file.
        candidates.insert(0, root / Path(*parts[1:]))
    candidates += [root / Path(*parts[start:]) for start in range(1, len(parts))]
    return next((path for path in candidates if path.exists()), None)


def _listed_images(file: Path) -> list[Path]:
    found = []
    for line in text_of(file).splitlines():
        if line.strip():
            place = _place(line.strip(), file.parent, "")
            if place is None:
                raise ConfigError(f"{file} lists {line.strip()}, which is not there")
            found.append(place)
    return found
