"""What can be wrong with a data set, and what to do about each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from ..messages import first_few


class Level(Enum):
    """What a problem means for a training."""

    STOP = "the data set cannot be used"
    ROW = "an image or a box of it cannot be used"
    NOTE = "it can be used, with less in it than the file lists"


@dataclass(frozen=True)
class Kind:
    """A kind of problem.

    Attributes:
        title: what is wrong, for the heading of a list.
        advice: what to do about it.
        level: what it means for a training.
    """

    title: str
    advice: str
    level: Level = Level.ROW


NOT_COCO = Kind(
    "not a COCO annotation file",
    "export the annotations in COCO's format: one object with the lists images, "
    "annotations and categories",
    Level.STOP,
)
CATEGORIES = Kind(
    "broken categories",
    "give every category an id and a name of its own",
    Level.STOP,
)
CLASSES = Kind(
    "classes that do not fit the categories",
    "set metainfo=dict(classes=...) of the data set to the names of the file, in the "
    "file's order, and num_classes of the model to their number",
    Level.STOP,
)
NO_BOX = Kind(
    "nothing to learn from",
    "check that the file is the right one, that boxes are (x, y, width, height) in "
    "pixels, and that iscrowd and ignore are 0",
    Level.STOP,
)
BROKEN_IMAGE = Kind(
    "broken rows of images",
    "give every image id, file_name, width and height",
)
DUPLICATE_IMAGE = Kind(
    "image ids that are not unique",
    "give every image an id of its own, and its annotations the same; of two images "
    "with one id, one would get the boxes of both",
)
BROKEN_ANNOTATION = Kind(
    "broken annotations",
    "mend or remove them",
)
DUPLICATE_ANNOTATION = Kind(
    "annotation ids that are not unique",
    "number the annotations anew",
)
MISSING_FILE = Kind(
    "image files that are missing or empty",
    "copy them anew, or set data_prefix of the data set to their folder",
)
UNREADABLE_FILE = Kind(
    "image files that cannot be read",
    "copy or convert them anew, as 8-bit JPEG or PNG",
)
OTHER_SIZE = Kind(
    "images of another size than the file lists",
    "list the size of the files and make sure that the boxes are in their pixels; the "
    "pictures were probably resized, or rotated, after they were annotated",
)
SIXTEEN_BITS = Kind(
    "images of 16 bits a sample that come out nearly black",
    "convert them to 8 bits: of 16 the upper 8 are used",
)
UNUSED_BOX = Kind(
    "boxes that training leaves out",
    "nothing, unless you miss them: they are smaller than a pixel or outside of their "
    "image, or have an area of 0",
    Level.NOTE,
)
UNUSED_IMAGE = Kind(
    "images that training leaves out",
    "lower filter_cfg.min_size of the training set to keep them",
    Level.NOTE,
)
EMPTY_IMAGE = Kind(
    "images without a box of the classes, which training leaves out",
    "set filter_cfg.filter_empty_gt=False of the training set to learn from them that "
    "nothing is there",
    Level.NOTE,
)
BACKGROUND = Kind(
    "a data set without a box",
    "nothing, if it is to teach that nothing is there, or has no labels on purpose: "
    "others beside it have boxes",
    Level.NOTE,
)
UNSORTED_IDS = Kind(
    "categories whose ids do not ascend",
    "sort the categories of all files by id: COCO's evaluation does so by itself, and "
    "with classwise=True mmdet prints the AP of a class under another's name",
    Level.NOTE,
)
ZERO_ID = Kind(
    "an annotation with id 0",
    "number the annotations from 1: COCO's evaluation takes a match with 0 for none",
    Level.NOTE,
)


@dataclass(frozen=True)
class Problem:
    """A kind of problem at one place.

    Attributes:
        kind: which.
        message: place and fault in a sentence without a full stop.
        image: index of the row of ``images`` that cannot be used, if it is one.
        annotation: the same of ``annotations``.
    """

    kind: Kind
    message: str
    image: int | None = None
    annotation: int | None = None


def serious(problems: Iterable[Problem]) -> list[Problem]:
    """Those that must not be trained on."""
    return [problem for problem in problems if problem.kind.level is not Level.NOTE]


def report(problems: Sequence[Problem], examples: int = 5) -> list[str]:
    """Lines that list the problems by kind, the worst first.

    Args:
        problems: of one data set.
        examples: how many of a kind to spell out.
    """
    lines = []
    levels = list(Level)
    kinds = dict.fromkeys(problem.kind for problem in problems)
    for kind in sorted(kinds, key=lambda kind: levels.index(kind.level)):
        messages = [problem.message for problem in problems if problem.kind is kind]
        word = "note" if kind.level is Level.NOTE else "problem"
        lines.append(f"{word}: {kind.title} ({len(messages)})")
        lines += [f"    {message}" for message in messages[:examples]]
        if len(messages) > examples:
            lines.append(f"    … and {len(messages) - examples} more")
        lines.append(f"    -> {kind.advice}")
    return lines


def listed(names: Iterable) -> str:
    """Names in quotes, the first few of many."""
    return first_few(map(shown, names), 10)


def shown(value: object, limit: int = 60) -> str:
    """A value as a message shows it, in one line and cut where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # An integer of more digits than Python says.
        text = f"a {type(value).__name__}"
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def in_one_line(place: str, problems: Sequence[Problem]) -> str:
    """Say the first problem, how to mend it and what lists those behind it.

    Args:
        place: file that has them.
        problems: at least one.
    """
    first = problems[0]
    text = f"{place}: {first.message} ({first.kind.advice})"
    if len(problems) > 1:
        text += (
            f"; and {len(problems) - 1} more, listed by "
            "tools/dataset_converters/check_data.py"
        )
    return text
