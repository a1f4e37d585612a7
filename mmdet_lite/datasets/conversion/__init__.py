"""Data sets of Pascal VOC's and YOLO's layouts, made ones in COCO's format.

``find_labels`` finds pictures and label files, which needs no further package;
``read_labels`` and ``write_coco`` go through supervision.
"""

from .coco import require_new_folder, write_coco
from .files import LabelFiles, Labelled
from .find import find_labels
from .read import LabelledData, read_labels

__all__ = [
    "LabelFiles",
    "Labelled",
    "LabelledData",
    "find_labels",
    "read_labels",
    "require_new_folder",
    "write_coco",
]
