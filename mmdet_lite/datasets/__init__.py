"""COCO data sets and what is wrong with them; a data set made by the package itself."""

from .checked_coco import CheckedCocoDataset

__all__ = ["CheckedCocoDataset"]
