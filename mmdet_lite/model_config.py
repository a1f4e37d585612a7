"""Configs of models, changed for what they are built for."""

from copy import deepcopy
from typing import Any

from mmdet.utils import ConfigType
from mmengine.model import PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS

from .config_parts import parts_of
from .type_names import class_of


def without_pretrained_weights(cfg: ConfigType) -> ConfigType:
    """A copy of a model's config in which no part loads weights to start from.

    That is what ``init_cfg`` and ``pretrained`` ask for; other initialisations stay.
    What a class fetches by itself, as Grounding DINO does with its language model, it
    still fetches.

    Args:
        cfg: it is not changed.

    Returns:
        ConfigType: the copy.
    """
    cfg = deepcopy(cfg)
    for _, part in parts_of(cfg):
        if "init_cfg" in part:
            part["init_cfg"] = _without_loading(part["init_cfg"])
        if part.get("pretrained"):
            # timm's backbones take a truth value, mmdet's old ones a path.
            part["pretrained"] = False if part["pretrained"] is True else None
    return cfg


def _without_loading(init_cfg: Any) -> Any:
    """Of one initialisation or several those that load nothing; None if none is left.

    Classes have a default for None, and for an empty list none.
    """
    if not isinstance(init_cfg, list | tuple):
        return None if _loads(init_cfg) else init_cfg
    left = [one for one in init_cfg if not _loads(one)]
    return init_cfg if len(left) == len(init_cfg) else left or None


def _loads(init_cfg: Any) -> bool:
    return (
        isinstance(init_cfg, dict)
        and class_of(init_cfg, WEIGHT_INITIALIZERS) is PretrainedInit
    )
