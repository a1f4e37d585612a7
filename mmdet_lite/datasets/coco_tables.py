"""Whether a COCO annotation file has its lists, and categories that can be classes."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from .problems import CATEGORIES, CLASSES, NOT_COCO, Problem, listed, shown


def table_problems(content: Any, annotated: bool = True) -> list[Problem]:
    """Say whether a file has COCO's lists, and categories that can be classes.

    Args:
        content: what its JSON holds, anything at all.
        annotated: whether it has to have annotations.
    """
    tables = ["annotations"] * annotated + ["categories", "images"]
    if not isinstance(content, dict):
        message = f"it holds a {type(content).__name__}, not an object with lists"
        return [Problem(NOT_COCO, message)]
    missing = [name for name in tables if name not in content]
    if missing:
        message = f"it is not a COCO annotation file: it lacks {', '.join(missing)}"
        return [Problem(NOT_COCO, message)]
    problems = [
        Problem(NOT_COCO, f"{name} must be a list, but is {shown(content[name])}")
        for name in tables
        if not isinstance(content[name], list)
    ]
    return problems or _category_problems(content["categories"])


def class_problems(
    names: Sequence[str], classes: Sequence[str], complete: bool = False
) -> list[Problem]:
    """Say which classes mmdet would not number as they are meant.

    Args:
        names: of the categories, in the order of the file.
        classes: of the data set.
        complete: whether they have to be all of the file.
    """
    unknown = [name for name in classes if name not in names]
    if unknown:
        message = (
            f"{len(unknown)} of the {len(classes)} classes are not categories of the "
            f"file: {listed(unknown)}; the file has {listed(names)}"
        )
        return [Problem(CLASSES, message)]
    extra = [name for name in names if name not in classes]
    if complete and extra:
        message = (
            f"{len(extra)} of its {len(names)} categories are not of the training "
            f"set: {listed(extra)}; that has {listed(classes)}"
        )
        return [Problem(CLASSES, message)]
    repeated = [name for name, count in Counter(classes).items() if count > 1]
    if repeated:
        message = f"classes name something twice: {listed(repeated)}"
        return [Problem(CLASSES, message)]
    in_file = [name for name in dict.fromkeys(names) if name in set(classes)]
    if in_file != list(classes):
        message = (
            f"the classes are in another order ({listed(classes)}) than the file's "
            f"categories ({listed(in_file)}); labels are numbered in the file's order, "
            "and names would be mixed up"
        )
        return [Problem(CLASSES, message)]
    return []


def category_names(content: dict[str, Any]) -> tuple[str, ...]:
    """Names in the order of the file, which is the order of mmdet's labels."""
    return tuple(category["name"] for category in content["categories"])


def names_by_id(rows: list) -> dict[Any, str]:
    """Names of the categories that have no fault, in the order of the file."""
    names: dict[Any, str] = {}
    for row in rows:
        if not _category_fault(row, names.keys()):
            names[row["id"]] = row["name"]
    return names


def is_id(value: Any) -> bool:
    """A whole number of 64 bits, or a name."""
    kind = type(value)
    if kind is int:
        return -(2**63) <= value < 2**63
    return kind is str and value != ""


def _category_problems(rows: list) -> list[Problem]:
    problems = []
    ids: set[Any] = set()
    for index, row in enumerate(rows):
        fault = _category_fault(row, ids)
        if fault:
            problems.append(Problem(CATEGORIES, f"row {index} of categories {fault}"))
        else:
            ids.add(row["id"])
    counts = Counter(names_by_id(rows).values())
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        message = (
            f"several categories have one name: {listed(twice)}; the labels of all "
            "that follow would be shifted"
        )
        problems.append(Problem(CATEGORIES, message))
    if not rows:
        problems.append(Problem(CATEGORIES, "it has no categories"))
    return problems


def _category_fault(row: Any, ids: Collection) -> str | None:
    if not isinstance(row, dict):
        return f"is {shown(row)}, not an object"
    if not is_id(row.get("id")):
        return f"has id {shown(row.get('id'))}, but a whole number is expected"
    if not isinstance(row.get("name"), str):
        return f"has name {shown(row.get('name'))}, but a text is expected"
    if row["id"] in ids:
        return f"has the id of another: {shown(row['id'])}"
    return None
