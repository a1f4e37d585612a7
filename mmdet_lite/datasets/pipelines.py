"""The steps that pipelines of a config take."""

from collections.abc import Iterator
from typing import Any

from mmengine.config import ConfigDict

from ..config_parts import keys_of, parts_of
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
