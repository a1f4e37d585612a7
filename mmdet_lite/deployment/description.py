"""What an exported file says of itself, so that it can be run without its config."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config

from ..datasets.class_names import classes_of_checkpoint, classes_of_config
from ..datasets.pipelines import resized_to
from ..errors import ConfigError
from ..type_names import type_name
from ..version import __version__
from .runtime import KEY

# Of images that nothing resizes.
_USUAL_SHAPE = (800, 1066)
# Steps of a test pipeline that leave the pixels as they are.
_OTHER_STEPS = ("LoadImageFromFile", "LoadAnnotations", "PackDetInputs")


@dataclass(frozen=True)
class Description:
    """What is needed to use an exported file.

    Attributes:
        model: type of the detector.
        classes: names by label, or none if they are not known.
        scale: (width, height) that an image has to fit into; None for images as they
            are.
        keep_ratio: whether resizing keeps the ratio of the sides.
        shape: (height, width) of the images that the file takes; None for any.
        batch: how many images it takes at once; None for any.
        version: of the package that wrote the file.
    """

    model: str
    classes: tuple[str, ...]
    scale: tuple[int, int] | None
    keep_ratio: bool
    shape: tuple[int, int] | None
    batch: int | None = None
    version: str = __version__

    @property
    def trace_shape(self) -> tuple[int, int]:
        """(height, width) to trace with: the only one, or the test pipeline's."""
        if self.shape:
            return self.shape
        return self.scale[::-1] if self.scale else _USUAL_SHAPE

    def metadata(self) -> dict[str, str]:
        """The entry of a file's metadata."""
        return {KEY: json.dumps(asdict(self))}


def describe(
    cfg: Config,
    checkpoint_meta: dict[str, Any],
    shape: tuple[int, int] | None,
    batch: int | None = None,
) -> Description:
    """Read what a file should say from a config and its checkpoint.

    Args:
        cfg: a whole config.
        checkpoint_meta: ``meta`` of the checkpoint, whose classes are those of its
            training; else the config's data set names them.
        shape: (height, width) that the export is fixed to, or None.
        batch: number of images that it is fixed to; None for any number of images of
            any size, and for one image of a fixed size.

    Raises:
        ConfigError: the test pipeline does more to an image than a file can say.
    """
    scale, keep_ratio = _resizing_of(cfg)
    return Description(
        model=type_name(cfg.model),
        classes=classes_of_checkpoint(checkpoint_meta) or classes_of_config(cfg),
        scale=scale,
        keep_ratio=keep_ratio,
        shape=shape,
        batch=1 if batch is None and shape is not None else batch,
    )


def _resizing_of(cfg: Config) -> tuple[tuple[int, int] | None, bool]:
    """The scale that images are resized to, and whether that keeps their ratio."""
    steps = get_test_pipeline_cfg(cfg) if cfg.get("test_dataloader") else []
    found: list[dict[str, Any]] = []
    for step in steps:
        name = type_name(step)
        if name in _OTHER_STEPS:
            continue
        if found or not _can_be_said(name, step):
            settings = {key: value for key, value in step.items() if key != "type"}
            raise ConfigError(
                f"the test pipeline has {name} with {settings}: an exported file says "
                "how images are resized by one Resize with scale, bilinear and by cv2, "
                "and nothing else that is done to them"
            )
        found.append(step)
    return resized_to(found), any(step.get("keep_ratio") for step in found)


def _can_be_said(name: str, step: dict[str, Any]) -> bool:
    return (
        name == "Resize"
        and step.get("scale") is not None
        and step.get("interpolation", "bilinear") == "bilinear"
        and step.get("backend", "cv2") == "cv2"
    )
