"""Walk through a config: every part of it, and where it stands."""

import re
from collections.abc import Iterator
from typing import Any


def parts_of(cfg: Any, name: str = "") -> Iterator[tuple[str, dict]]:
    """Every dict in a config, however deep, each before those inside of it.

    Args:
        cfg: a dict, a list or tuple of whatever may hold some, or anything else, which
            holds none. Of a whole ``Config`` give its parts, as it is no dict itself.
        name: what it is called.

    Yields:
        tuple: the path of a dict, as ``'model.bbox_head[0].loss_cls'``, and the dict
        itself, in the config's order.
    """
    if isinstance(cfg, dict):
        yield name, cfg
        for key, value in cfg.items():
            yield from parts_of(value, f"{name}.{key}" if name else str(key))
    elif isinstance(cfg, list | tuple):
        for index, value in enumerate(cfg):
            yield from parts_of(value, f"{name}[{index}]")


def keys_of(path: str) -> list[str]:
    """The keys on the way to a part, without places in lists.

    Args:
        path: of :func:`parts_of`; ``'model.bbox_head[0]'`` has ``model`` and
            ``bbox_head``.
    """
    return re.sub(r"\[\d+\]", "", path).split(".")
