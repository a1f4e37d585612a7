"""The steps that pipelines of a config take, and the size that they resize to."""

from collections.abc import Iterable, Iterator
from typing import Any

from mmengine.config import ConfigDict

from ..config_parts import keys_of, parts_of
from ..errors import ConfigError
from ..type_names import type_name


def pipeline_steps(cfg: Any, key: str | None = None) -> Iterator[ConfigDict]:
    """Every step of pipelines, those inside of choices and branches too.

    What is inside of ``Albu`` is passed over: its transforms are another library's.

    Args:
        cfg: a pipeline; with a key a part of a config, however deep its pipelines are.
        key: what they are called there.

    Yields:
        ConfigDict: a step, in the config's order.
    """
    foreign = None
    for path, step in parts_of(cfg, "cfg"):
        if foreign is not None and path.startswith(foreign):
            continue
        if "type" not in step or (key is not None and key not in keys_of(path)):
            continue
        yield step
        if type_name(step) == "Albu":
            foreign = f"{path}."


def resized_to(steps: Iterable[ConfigDict]) -> tuple[int, int] | None:
    """The size that images are resized to, by the first step that has one.

    Args:
        steps: of a test pipeline.

    Returns:
        tuple: (width, height), or None where no step resizes to a size.

    Raises:
        ConfigError: the size is something else than one or two numbers of pixels.
    """
    for step in steps:
        scale = step.get("scale")
        if not scale or type_name(step) == "InstaBoost":  # Whose scales are ratios.
            continue
        sides = scale if isinstance(scale, list | tuple) else (scale, scale)
        if len(sides) != 2 or not all(isinstance(side, int) for side in sides):
            raise ConfigError(
                f"scale of {type_name(step)} in a test pipeline should be a number of "
                f"pixels or two, but is {scale!r}"
            )
        width, height = sides
        # Beside a longest side the scale is that of the shorter one.
        longest = step.get("max_size")
        return (longest, min(sides)) if longest else (width, height)
    return None
