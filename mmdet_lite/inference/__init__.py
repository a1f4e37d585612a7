"""Detect in one's own pictures and videos, and keep what was found."""

from .detector import load_detector
from .run import Outcome, detect_to_folder
from .sources import Source, find_sources

__all__ = [
    "Outcome",
    "Source",
    "detect_to_folder",
    "find_sources",
    "load_detector",
]
