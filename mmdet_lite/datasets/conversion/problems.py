"""What can be wrong with label files, beside what can be with COCO's."""

from collections.abc import Iterable
from pathlib import Path

from ..problems import Kind, Level, Problem

LABELS = Kind(
    "label files that cannot be used",
    "mend them, or leave their pictures out by --faulty-data skip",
)
OUTSIDE = Kind(
    "boxes that do not lie in their picture",
    "check that they are of this picture, in pixels for Pascal VOC and in fractions of "
    "width and height for YOLO",
)
SHARED = Kind(
    "label files of several pictures",
    "give every picture a name of its own",
)
NAMESAKES = Kind(
    "pictures of one name in a set",
    "give every picture a name of its own: in COCO's format those of a set lie in one "
    "folder",
)
CUT = Kind(
    "boxes that reach beyond their picture",
    "nothing, unless they are many: they are cut at the edge",
    Level.NOTE,
)
UNPAIRED = Kind(
    "label files without a picture",
    "nothing, unless you miss the pictures; both have one name, but for the suffix",
    Level.NOTE,
)
UNLISTED = Kind(
    "pictures that no list of ImageSets/Main has",
    "nothing, unless you miss them: they are left out",
    Level.NOTE,
)
LOST = Kind(
    "lines of ImageSets/Main that are no picture's name",
    "nothing, unless you miss the pictures",
    Level.NOTE,
)
UNLABELLED = Kind(
    "pictures without a label file",
    "nothing, if they show no object: they are kept without a box",
    Level.NOTE,
)
DIFFICULT = Kind(
    "objects that are marked as difficult",
    "nothing: they become crowds, which training and AP leave out, as mmdet's Pascal "
    "VOC does",
    Level.NOTE,
)
FROM_ZERO = Kind(
    "pixels that are counted from 0",
    "nothing: boxes begin at 0, so that 1 is not subtracted as it is of Pascal VOC's",
    Level.NOTE,
)
ALIKE = Kind(
    "names of classes that differ in case or spaces only",
    "give them one name, if they mean one class",
    Level.NOTE,
)
ABSENT = Kind(
    "classes without a box to learn from",
    "nothing, if you know: they are in the file all the same, and are not learned",
    Level.NOTE,
)
IN_TWO = Kind(
    "pictures in two sets",
    "take them out of one: AP on pictures that were trained on says nothing",
    Level.NOTE,
)


def shared_labels(file: Path, images: Iterable[Path]) -> Problem:
    """Say that a label file is that of several pictures."""
    names = ", ".join(path.name for path in images)
    return Problem(SHARED, f"{file} is that of {names}")
