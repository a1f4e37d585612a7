"""What an exported file says of itself, so that it can be run without its config."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config

from ..version import __version__

KEY = "mmdet_lite"
"""Name of the entry in a file's metadata."""


@dataclass(frozen=True)
class Description:
    """What is needed to use an exported file.

    Attributes:
        model: type of the detector.
        classes: names by label, or none if they are not known.
        scale: (width, height) that an image has to fit into; None for images as they
            are.
        keep_ratio: whether resizing keeps the ratio of the sides.
        shape: (height, width) of the image that the file takes; None for any.
        version: of the package that wrote the file.
    """

    model: str
    classes: tuple[str, ...]
    scale: tuple[int, int] | None
    keep_ratio: bool
    shape: tuple[int, int] | None
    version: str = __version__

    def metadata(self) -> dict[str, str]:
        """The entry of a file's metadata."""
        return {KEY: json.dumps(asdict(self))}


def describe(
    cfg: Config, checkpoint_meta: dict[str, Any], shape: tuple[int, int] | None
) -> Description:
    """Read what a file should say from a config and its checkpoint.

    Args:
        cfg: a whole config.
        checkpoint_meta: ``meta`` of the checkpoint, whose classes are those of its
            training; else the config's data set names them.
        shape: (height, width) that the export is fixed to, or None.
    """
    dataset = cfg.get("test_dataloader", {}).get("dataset", {})
    classes = (checkpoint_meta.get("dataset_meta") or {}).get("classes")
    classes = classes or dataset.get("metainfo", {}).get("classes") or ()
    resize: dict[str, Any] = next(
        (
            step
            for step in (get_test_pipeline_cfg(cfg) if dataset else ())
            if step["type"] in ("Resize", "FixScaleResize") and "scale" in step
        ),
        {},
    )
    scale = resize.get("scale")
    return Description(
        model=cfg.model.type,
        classes=tuple(classes),
        scale=(scale[0], scale[1]) if scale else None,
        keep_ratio=bool(resize.get("keep_ratio", False)),
        shape=shape,
    )
