"""Change the size of the images that a config trains and tests on."""

import inspect
from collections.abc import Iterator
from typing import Any

from mmdet.registry import TRANSFORMS
from mmengine.config import Config, ConfigDict

from ..datasets.pipelines import pipeline_steps, resized_to
from ..errors import ConfigError
from ..type_names import class_of, type_name

# What transforms and batch augmentations call a size in pixels.
_SIZES = (
    "scale",
    "scales",
    "img_scale",
    "size",
    "crop_size",
    "border",
    "random_size_range",
    "max_size",
    "width",
    "height",
)


def set_image_size(cfg: Config, size: int) -> None:
    """Let no test image be longer than so many pixels, and train in proportion.

    Every size of the pipelines changes by the factor by which that of the test images
    does, so that a multi-scale training stays one and a mosaic is made of images of
    the new size: the pipelines of every wrapper of a data set, those that a hook
    switches to, ``tta_pipeline``, and the batch augmentations of the model. A single
    size that keeps an image's shape becomes a square: however an image lies, its
    longer side is what counts.

    Args:
        cfg: a whole config; it is changed.
        size: pixels of the longer side.

    Raises:
        ConfigError: the size is too small, no step of the test pipeline resizes, or a
            step has a size that cannot be changed.
    """
    if size < 32:
        raise ConfigError(f"--image-size must be at least 32 pixels, but got {size}")
    loader = cfg.get("val_dataloader") or cfg.get("test_dataloader")
    test_size = resized_to(pipeline_steps(loader, "pipeline"))
    if test_size is None:
        raise ConfigError(
            "--image-size: no step of the test pipeline has a scale to change"
        )
    factor = size / max(test_size)
    # The test set may be the validation set itself.
    for step in {id(step): step for step in _all_steps(cfg)}.values():
        _resize(step, factor)


def _all_steps(cfg: Config) -> Iterator[ConfigDict]:
    for split in ("train", "val", "test"):
        yield from pipeline_steps(cfg.get(f"{split}_dataloader"), "pipeline")
    yield from pipeline_steps(cfg.get("custom_hooks"), "switch_pipeline")
    yield from pipeline_steps(cfg.get("tta_pipeline"))
    yield from pipeline_steps(cfg.get("model"), "batch_augments")


def _resize(step: ConfigDict, factor: float) -> None:
    if type_name(step) == "Albu":
        _require_no_size(step.get("transforms"))
    if type_name(step) == "InstaBoost" or "relative" in step.get("crop_type", ""):
        return  # Ratios.
    for name, value in {**_default_sizes(step), **step}.items():
        if name not in _SIZES or value is None:
            continue
        try:
            step[name] = _scaled(value, factor)
        except TypeError as error:
            raise ConfigError(
                f"--image-size: {name} of {type_name(step)} should be pixels, but is "
                f"{value!r}"
            ) from error
        if name == "scale" and step.get("keep_ratio") and _is_pair(value):
            step.scale = (max(step.scale),) * 2


def _default_sizes(step: ConfigDict) -> dict[str, Any]:
    """The size that a mosaic has where the config names none."""
    cls = class_of(step, TRANSFORMS)
    for base in inspect.getmro(cls) if cls else ():
        parameters = inspect.signature(base).parameters
        if "img_scale" in parameters:
            return {"img_scale": parameters["img_scale"].default}
    return {}


def _scaled(sizes: Any, factor: float) -> Any:
    """The same numbers, pairs or lists of them, times a factor.

    Raises:
        TypeError: there is something else among them.
    """
    if isinstance(sizes, list | tuple):
        return type(sizes)(_scaled(size, factor) for size in sizes)
    if not isinstance(sizes, int):
        raise TypeError
    if sizes in (-1, 0):
        return sizes  # As long as it gets, and none.
    return round(sizes * factor) or (1 if sizes > 0 else -1)


def _is_pair(sizes: Any) -> bool:
    return isinstance(sizes, list | tuple) and all(isinstance(s, int) for s in sizes)


def _require_no_size(transforms: Any) -> None:
    """Refuse transforms of Albumentations that have sizes of their own."""
    for step in pipeline_steps(transforms):
        if sizes := [name for name in (*_SIZES, "min_max_height") if name in step]:
            raise ConfigError(
                "--image-size does not change Albumentations' "
                f"{type_name(step)}, which has {', '.join(sizes)}"
            )
