"""Data sets of Pascal VOC's layout: an XML file for each picture."""

import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import ConfigError
from ..problems import OTHER_SIZE, Problem, shown
from .files import (
    SPLITS,
    LabelFiles,
    Labelled,
    files_in,
    images_in,
    split_of,
    stem_of,
    text_of,
)
from .problems import LOST, UNLISTED, UNPAIRED, shared_labels

if TYPE_CHECKING:
    from supervision import Detections

_IMAGE_FOLDERS = ("JPEGImages", "images", "Images")
_LISTS = {"train": ("train", "trainval"), "val": ("val",), "test": ("test",)}


def find_voc(root: Path) -> LabelFiles | None:
    """Pictures and XML files below a folder, None where it has no XML file.

    ``ImageSets/Main`` says what set a picture belongs to, or else the folder that it
    or its XML file is in; a picture of neither is one to train on.

    Args:
        root: folder of the data set, or one above the original's.

    Raises:
        ConfigError: there are several of the original's layout below.
    """
    root = _home(root)
    xml_files = files_in(_first(root, ("Annotations",)), ".xml")
    if not xml_files:
        return None
    images: dict[tuple[str | None, str], list[Path]] = defaultdict(list)
    for path in images_in(_first(root, _IMAGE_FOLDERS)):
        images[split_of(path, root), path.stem].append(path)
    labels: dict[str, dict[str | None, Path]] = defaultdict(dict)
    for path in xml_files:
        labels[path.stem][split_of(path, root)] = path
    files = LabelFiles("Pascal VOC", {})
    stems = {stem for _, stem in images}
    lists = _lists(root / "ImageSets" / "Main", stems, files.problems)
    for (split, stem), paths in images.items():
        of_name = labels.get(stem, {})
        if split is None and len(of_name) == 1:
            split = next(iter(of_name))
        file = of_name.get(split, of_name.get(None))
        if file and len(paths) > 1:
            files.problems.append(shared_labels(file, paths))
            continue
        named = [name for name, stems in lists.items() if stem in stems]
        if lists and not named:
            files.problems += [Problem(UNLISTED, str(path)) for path in paths]
        for name in named if lists else [split or "train"]:
            rows = files.splits.setdefault(name, [])
            rows += [Labelled(path, file) for path in paths]
    files.problems += [
        Problem(UNPAIRED, str(path)) for path in xml_files if path.stem not in stems
    ]
    files.splits = {name: files.splits[name] for name in SPLITS if name in files.splits}
    return files


def read_voc(
    path: Path, classes: list[str], size: tuple[int, int]
) -> tuple["Detections", list[str], list[Problem]]:
    """Read the boxes of a picture.

    Args:
        path: of the XML file.
        classes: names known so far.
        size: width and height of the picture in pixels, set upright.

    Returns:
        tuple: the boxes, (x1, y1, x2, y2) in pixels from the picture's corner, with
        ``iscrowd`` where they are difficult; the names with those that are new; what is
        wrong with the file's own size.

    Raises:
        ValueError: the file cannot be read, or a box of it.
    """
    from defusedxml.ElementTree import ParseError, parse
    from supervision.dataset.formats.pascal_voc import detections_from_xml_obj

    try:
        annotation = parse(path).getroot()
    except ParseError as error:
        raise ValueError(f"it is no XML: {error}") from error
    rows = annotation.findall("object")
    for row in rows:
        # supervision would draw a mask of the whole picture for every object.
        for polygon in row.findall("polygon"):
            row.remove(polygon)
        name = row.find("name")
        if name is not None and name.text is not None:
            name.text = name.text.strip()
    found, classes = detections_from_xml_obj(annotation, classes, size)
    difficult = [(row.findtext("difficult") or "0").strip() == "1" for row in rows]
    found.data["iscrowd"] = np.array(difficult, dtype=int)
    return found, classes, _size_problems(annotation, path, size)


def _size_problems(annotation, path: Path, size: tuple[int, int]) -> list[Problem]:
    texts = [annotation.findtext(f"size/{side}") or "0" for side in ("width", "height")]
    try:
        named = tuple(round(float(text)) for text in texts)
    except (ValueError, OverflowError):
        named = (0, 0)
    # Some tools write 0.
    if 0 in named or named == size:
        return []
    message = f"{path} is of {shown(named)} pixels, the picture of {size}"
    return [Problem(OTHER_SIZE, message)]


def _home(root: Path) -> Path:
    """The folder of the original's layout, at most two below."""
    homes = [
        folder
        for folder in (root, *sorted(root.glob("*")), *sorted(root.glob("*/*")))
        # pathlib raises where a folder may not be looked into.
        if all(os.path.isdir(folder / name) for name in ("Annotations", "JPEGImages"))
    ]
    if len(homes) > 1 and homes[0] != root:
        names = ", ".join(map(str, homes))
        raise ConfigError(f"{root} has several data sets, name one of {names}")
    return homes[0] if homes else root


def _first(root: Path, names: tuple[str, ...]) -> Path:
    return next((root / name for name in names if (root / name).is_dir()), root)


def _lists(
    folder: Path, stems: set[str], problems: list[Problem]
) -> dict[str, set[str]]:
    """Stems of the pictures of each set that has a list; says which lines have none."""
    lists = {}
    for split, names in _LISTS.items():
        file = next(
            (file for name in names if (file := folder / f"{name}.txt").is_file()), None
        )
        if file is None:
            continue
        lines = [line for line in text_of(file).splitlines() if line.strip()]
        found = {line: _picture_of(line, stems) for line in lines}
        lists[split] = {stem for stem in found.values() if stem is not None}
        lost = [line for line, stem in found.items() if stem is None]
        if lost:
            message = (
                f"{file} has {len(lost)} of {len(found)}, the first {shown(lost[0])}"
            )
            problems.append(Problem(LOST, message))
    return lists


def _picture_of(line: str, stems: set[str]) -> str | None:
    """The picture that a line names, which may have a suffix, or a number behind it."""
    whole, word = line.strip(), line.split()[0]
    names = (whole, word, stem_of(whole), stem_of(word))
    return next((name for name in names if name in stems), None)
