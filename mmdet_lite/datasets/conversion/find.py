"""Tell which layout a data set has."""

from pathlib import Path

from ...errors import ConfigError
from .files import LabelFiles
from .voc import find_voc
from .yolo import find_yolo


def find_labels(source: str | Path) -> LabelFiles | None:
    """Find pictures and label files of Pascal VOC's or YOLO's layout.

    YOLO's are those of Ultralytics and of Roboflow's exports, with a YAML file that
    names the classes, and of label tools, with ``classes.txt``. Pascal VOC's are the
    original's folders, Roboflow's exports and folders with an XML for each picture.

    Args:
        source: folder of the data set, or YOLO's YAML file.

    Returns:
        What was found; None where the source has neither layout.

    Raises:
        ConfigError: there is no such source, or what describes it is broken.
    """
    source = Path(source)
    if not source.exists():
        raise ConfigError(f"there is no data set {source}")
    return find_yolo(source) or (find_voc(source) if source.is_dir() else None)
