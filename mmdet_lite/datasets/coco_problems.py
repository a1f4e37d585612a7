"""Everything that is wrong with the content of a COCO annotation file."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .coco_tables import class_problems, is_id, names_by_id, table_problems
from .problems import (
    BACKGROUND,
    BROKEN_ANNOTATION,
    BROKEN_IMAGE,
    DUPLICATE_ANNOTATION,
    DUPLICATE_IMAGE,
    EMPTY_IMAGE,
    NO_BOX,
    NOT_COCO,
    UNSORTED_IDS,
    UNUSED_BOX,
    UNUSED_IMAGE,
    ZERO_ID,
    Kind,
    Problem,
    listed,
    shown,
)


def annotation_problems(
    content: Any,
    classes: Sequence[str] | None = None,
    filter_cfg: Mapping[str, Any] | None = None,
    annotated: bool = True,
    scored: bool = False,
    boxes_elsewhere: bool = False,
    complete: bool = False,
) -> list[Problem]:
    """List all that is wrong with an annotation file.

    Args:
        content: what its JSON holds, anything at all.
        classes: names that the data set takes; None for all of the file.
        filter_cfg: of the data set, which says what images a training leaves out.
        annotated: False for images to be tested elsewhere, which have no annotations.
        scored: whether COCO's evaluation reads the file too, which needs more of it.
        boxes_elsewhere: whether the data set is one of several, so that this one may
            have no boxes, and no list of annotations, unless it leaves out images
            without a box.
        complete: whether the classes have to be all of the file.

    Returns:
        list: the problems, none if there are none. A file without problems can be read
        by mmdet and scored by COCO's evaluation.
    """
    filter_cfg = filter_cfg or {}
    needs_boxes = not boxes_elsewhere or filter_cfg.get("filter_empty_gt", False)
    if isinstance(content, dict) and not needs_boxes:
        content = {"annotations": [], **content}
    problems = table_problems(content, annotated)
    if any(problem.kind is NOT_COCO for problem in problems):
        return problems
    names = names_by_id(content["categories"])
    if classes is not None:
        problems += class_problems(list(names.values()), classes, complete)
    used = [
        category
        for category, name in names.items()
        if classes is None or name in classes
    ]
    if scored and np.unique(used).tolist() != used:
        problems.append(Problem(UNSORTED_IDS, f"they are {listed(used)}"))
    min_size = filter_cfg.get("min_size", 0)
    sizes: dict[Any, tuple[float, float]] = {}
    problems += _image_problems(content["images"], sizes, min_size)
    if annotated:
        wanted = set(used)
        rows = content["annotations"]
        problems += _annotation_problems(rows, sizes, names, scored)
        faulty = {problem.annotation for problem in problems}
        boxes = [row for index, row in enumerate(rows) if index not in faulty]
        nothing = NO_BOX if needs_boxes else BACKGROUND
        problems += _use_problems(boxes, sizes, wanted, min_size, nothing)
        if filter_cfg.get("filter_empty_gt"):
            full = {row["image_id"] for row in boxes if row["category_id"] in wanted}
            empty = len(sizes.keys() - full)
            if empty:
                message = f"{empty} of {len(sizes)} images have no box"
                problems.append(Problem(EMPTY_IMAGE, message))
    return problems


def without_faulty_rows(
    content: dict[str, Any], problems: Sequence[Problem]
) -> dict[str, Any]:
    """The content without the images and annotations that have a problem.

    Args:
        content: of a file with no problem that stops; left as it is.
        problems: of it and of its images.
    """
    bad_images = {problem.image for problem in problems}
    bad_annotations = {problem.annotation for problem in problems}
    images = [
        row for index, row in enumerate(content["images"]) if index not in bad_images
    ]
    ids = {row["id"] for row in images}
    annotations = [
        row
        for index, row in enumerate(content.get("annotations", []))
        if index not in bad_annotations and row["image_id"] in ids
    ]
    return {**content, "images": images, "annotations": annotations}


def _image_problems(
    rows: list, sizes: dict[Any, tuple[float, float]], min_size: int
) -> list[Problem]:
    """Fill in (width, height) by id, and say which rows cannot be used."""
    problems = []
    places: dict[Any, list[int]] = {}
    for index, row in enumerate(rows):
        fault = _image_fault(row)
        if fault:
            named = isinstance(row, dict) and "file_name" in row
            place = f" ({shown(row['file_name'])})" if named else ""
            message = f"row {index} of images{place} {fault}"
            problems.append(Problem(BROKEN_IMAGE, message, image=index))
            continue
        size = (row["width"], row["height"])
        sizes[row["id"]] = size
        places.setdefault(row["id"], []).append(index)
        if min(size) < min_size:
            message = f"{shown(row['file_name'])} is {size[0]}×{size[1]} pixels"
            problems.append(Problem(UNUSED_IMAGE, message))
    for image_id, indices in places.items():
        if len(indices) > 1:
            files = listed(rows[index]["file_name"] for index in indices)
            message = f"image id {shown(image_id)} is that of several: {files}"
            problems += [Problem(DUPLICATE_IMAGE, message, index) for index in indices]
    if len({type(image_id) for image_id in places}) > 1:
        message = "ids of images are numbers and names, which cannot be sorted"
        problems.append(Problem(NOT_COCO, message))
    if not rows:
        problems.append(Problem(NO_BOX, "it lists no images"))
    return problems


def _image_fault(row: Any) -> str | None:
    if not isinstance(row, dict):
        return f"is {shown(row)}, not an object"
    if not is_id(row.get("id")):
        return f"has id {shown(row.get('id'))}, but a whole number is expected"
    name = row.get("file_name")
    if not isinstance(name, str) or not name or "\0" in name:
        return f"has file_name {shown(name)}, but the name of a file is expected"
    for side in ("width", "height"):
        if not _is_number(row.get(side)) or row[side] < 1:
            return f"has {side} {shown(row.get(side))}, but pixels are expected"
    return None


def _annotation_problems(
    rows: list, sizes: dict, names: dict, scored: bool
) -> list[Problem]:
    problems = []
    seen: set[Any] = set()
    for index, row in enumerate(rows):
        fault = _annotation_fault(row, sizes, names, scored)
        if fault:
            known = isinstance(row, dict) and "id" in row
            place = (
                f"annotation {shown(row['id'])}"
                if known
                else f"row {index} of annotations"
            )
            message = f"{place} {fault}"
            problems.append(Problem(BROKEN_ANNOTATION, message, annotation=index))
        elif row["id"] in seen:
            message = f"annotation id {shown(row['id'])} is that of several"
            problems.append(Problem(DUPLICATE_ANNOTATION, message, annotation=index))
        else:
            seen.add(row["id"])
    if scored and 0 in seen:
        problems.append(Problem(ZERO_ID, "annotation 0"))
    return problems


def _use_problems(
    rows: list[dict], sizes: dict, wanted: set, min_size: int, nothing: Kind
) -> list[Problem]:
    """What a training makes of annotations that have no fault, which may be nothing."""
    problems = []
    usable = 0
    for row in rows:
        width, height = sizes[row["image_id"]]
        reason = _why_unused(row, width, height)
        if reason:
            problems.append(
                Problem(UNUSED_BOX, f"annotation {shown(row['id'])} {reason}")
            )
        elif not (row.get("iscrowd") or row.get("ignore")):
            usable += row["category_id"] in wanted and min(width, height) >= min_size
    if not usable:
        message = (
            "no annotation has a box to learn from: all are broken, crowds, of other "
            "classes, without area, outside of their image or of images left out"
        )
        problems.append(Problem(nothing, message))
    return problems


def _annotation_fault(row: Any, sizes: dict, names: dict, scored: bool) -> str | None:
    """What is wrong with an annotation that would break or silently spoil training."""
    if not isinstance(row, dict):
        return f"is {shown(row)}, not an object"
    if not is_id(row.get("id")):
        return f"has id {shown(row.get('id'))}, but a whole number is expected"
    if scored and not isinstance(row["id"], int):
        return f"has id {shown(row['id'])}, but COCO's evaluation needs a whole number"
    image, category = row.get("image_id"), row.get("category_id")
    if not is_id(image) or image not in sizes:
        return f"is of image {shown(image)}, which the file does not list"
    if not is_id(category) or category not in names:
        return f"has category {shown(category)}, which the file does not list"
    box = row.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        return (
            f"has bbox {shown(box)}, but four finite numbers (x, y, w, h) are expected"
        )
    if box[2] < 0 or box[3] < 0:
        return f"has a bbox of negative size: {box}"
    if "area" not in row:
        return "has no area, which COCO evaluation needs"
    if not _is_number(row["area"]):
        return f"has area {shown(row['area'])}, but a finite number is expected"
    if scored and "iscrowd" not in row:
        return "has no iscrowd, which COCO evaluation needs"
    if row.get("iscrowd", 0) not in (0, 1):
        return f"has iscrowd {shown(row['iscrowd'])}, but 0 or 1 is expected"
    return None


def _why_unused(row: dict, width: float, height: float) -> str | None:
    """Why mmdet leaves a box out, as ``CocoDataset.parse_data_info`` has it."""
    x, y, w, h = row["bbox"]
    if w < 1 or h < 1:
        return f"has a box of less than a pixel: {row['bbox']}"
    if row["area"] <= 0:
        return f"has area {row['area']}"
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        return f"lies outside of its image: {row['bbox']} of {width}×{height}"
    return None


def _is_number(value: Any) -> bool:
    kind = type(value)
    if kind is float:
        return math.isfinite(value)
    return kind is int and abs(value) < 2**53
