"""Write a data set in COCO's format, where the tools look for it."""

import json
from pathlib import Path

from ...errors import ConfigError
from .read import LabelledData


def write_coco(data: LabelledData, out_dir: str | Path) -> None:
    """Write ``train.json``, ``val.json``, ``test.json`` and copies of the pictures.

    The pictures of a set go to ``images/train`` and so on. Ids count from 1 and are of
    one picture or box in all of the files.

    Args:
        data: what :func:`~mmdet_lite.datasets.conversion.read_labels` has read.
        out_dir: folder to write to, which is made.

    Raises:
        ConfigError: the folder has something in it.
    """
    out_dir = Path(out_dir)
    require_new_folder(out_dir)
    ids = (1, 1)
    for split, part in data.splits.items():
        file = out_dir / f"{split}.json"
        ids = part.as_coco(
            images_directory_path=str(out_dir / "images" / split),
            annotations_path=str(file),
            starting_image_id=ids[0],
            starting_annotation_id=ids[1],
        )
        _withdraw_claims(file)


def require_new_folder(path: str | Path) -> None:
    """Refuse a folder that has something in it.

    Raises:
        ConfigError: it has, or it is no folder.
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(f"{path} exists; name a folder that is empty or new")


def _withdraw_claims(file: Path) -> None:
    """Drop a licence that nobody gave, and the conversion's time as a picture's."""
    content = json.loads(file.read_text())
    del content["licenses"]
    for row in content["images"]:
        del row["license"], row["date_captured"]
    file.write_text(json.dumps(content))
