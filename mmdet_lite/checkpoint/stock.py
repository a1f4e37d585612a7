"""Start a Lite model from weights of the stock DETR of mmdet."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmdet.utils import ConfigType
from torch import Tensor, nn

from ..errors import ConfigError
from ..messages import first_few
from ..model_config import without_pretrained_weights
from ..version import __version__
from .files import read_mmengine, write_checkpoint
from .fit import compare, weights_of


@dataclass
class Initialisation:
    """Weights to start from, and where each comes from.

    Args:
        state_dict (dict[str, Tensor]): a value for every name of the model.
        kept (list[str]): names whose weights are the stock model's.
        new (dict[str, str]): names that keep the model's own initialisation, with the
            reason.
        dropped (list[str]): names of the stock model that the model has not.
    """

    state_dict: dict[str, Tensor]
    kept: list[str]
    new: dict[str, str]
    dropped: list[str]


def initialise_from_stock(
    model: nn.Module, stock: Mapping[str, Tensor]
) -> Initialisation:
    """Take over every weight of equal name and shape; the rest stays as it is.

    What Lite DETR adds has no counterpart: the F layers' small FFN and norm, and the
    query projection of key-aware attention. The linear layer that predicts the weights
    of plain attention is no substitute for the latter and is dropped; where key-aware
    attention has predicted logits it predicts these, and the model starts with the
    stock model's attention.

    Args:
        model: a Lite model with weights initialised (``init_weights``). It is not
            changed.
        stock: weights of mmdet's DINO or Deformable DETR, of the same options; a
            ``module.`` before names is left out.

    Returns:
        Initialisation: a complete state dict, which ``load_from`` and
        ``load_state_dict`` take.

    Raises:
        ConfigError: there are no weights, or none fits the model's encoder.
    """
    weights = weights_of(stock)
    state_dict = dict(model.state_dict())
    # Not as the model would load them: it refuses weights of plain attention.
    fit = compare(state_dict, weights)
    if not any(name.startswith("encoder.") for name in fit.taken):
        raise ConfigError(
            "no weight of the checkpoint fits the model's encoder; it has "
            f"{first_few(weights, 3)}, but weights of a DINO or Deformable DETR of "
            "mmdet 3 are expected"
        )
    kept = {name: weights[name] for name in fit.taken}
    new = {
        name: f"shape {tuple(own.shape)}, in the checkpoint "
        f"{tuple(weights[name].shape)}"
        if name in weights
        else "not in the checkpoint"
        for name, own in state_dict.items()
        if name not in kept
    }
    return Initialisation({**state_dict, **kept}, fit.taken, new, fit.surplus)


def initialise_file_from_stock(
    source: str | Path, model_cfg: ConfigType, target: str | Path, seed: int = 0
) -> Initialisation:
    """Write a checkpoint to start a Lite model from.

    Args:
        source: path or URL of the stock model's checkpoint.
        model_cfg: config of the Lite model; it is not changed, and pretrained weights
            are not fetched, because the checkpoint has better ones.
        target: path to write to, for ``load_from`` of a config.
        seed: of the weights that are new.

    Raises:
        ConfigError: the file does not exist or is no checkpoint, or nothing of it fits
            the model's encoder.
    """
    stock = read_mmengine(source)["state_dict"]
    torch.manual_seed(seed)
    model = MODELS.build(without_pretrained_weights(model_cfg))
    model.init_weights()
    start = initialise_from_stock(model, stock)
    write_checkpoint(
        {
            "meta": {
                "mmdet_lite_version": __version__,
                "initialised_from": Path(source).name,
            },
            "state_dict": start.state_dict,
        },
        target,
    )
    return start
