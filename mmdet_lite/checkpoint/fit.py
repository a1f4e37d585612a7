"""How far the weights of a checkpoint fit a model, part by part."""

import re
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmengine.runner.checkpoint import load_state_dict
from torch import Tensor, nn

from ..errors import ConfigError
from ..messages import first_few
from ..model_wrappers import unwrapped
from .attention_kind import refuse_other_attention
from .translated import translated

# The parts that make a DETR what it is; heads and backbones are exchanged.
TRANSFORMER = ("encoder", "decoder")
# Where layers too much mean that the weights are of a deeper model: what is left of
# them loads without a gap. What heads have beside may be of use to a training alone.
_WHOLE_PARTS = (*TRANSFORMER, "backbone", "neck")
# Written since PyTorch 0.4.1, and of no use to a model that is not trained.
BATCH_COUNTER = "num_batches_tracked"
# Weights that a message spells out.
_NAMED = 3


class CheckpointMismatchError(ConfigError):
    """The weights of a checkpoint are not those of the model."""


@dataclass
class Fit:
    """What of a checkpoint a model takes.

    Attributes:
        taken (list[str]): names of equal shape.
        missing (list[str]): names of the model that the checkpoint lacks.
        reshaped (dict[str, str]): names of another shape, with both.
        surplus (list[str]): names of the checkpoint that the model lacks.
        not_finite (list[str]): names that are taken and hold a NaN or an infinity.
    """

    taken: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    reshaped: dict[str, str] = field(default_factory=dict)
    surplus: list[str] = field(default_factory=list)
    not_finite: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """How many weights are taken, in all and of each part of the model."""
        taken = _by_part(self.taken)
        parts = _by_part([*self.taken, *self.missing, *self.reshaped])
        listed = ", ".join(
            f"{part} {taken[part]} of {parts[part]}" for part in sorted(parts)
        )
        return f"{taken.total()} of {parts.total()} weights ({listed})"


def weights_of(checkpoint: Mapping) -> dict[str, Tensor]:
    """The weights of a checkpoint, of mmengine or nothing but weights.

    Args:
        checkpoint: what the file holds.

    Raises:
        CheckpointMismatchError: there are none.
    """
    weights = checkpoint.get("state_dict", checkpoint)
    tensors = OrderedDict(
        # As mmengine strips what nn.DataParallel puts before a name.
        (re.sub(r"^module\.", "", str(name)), value)
        for name, value in (weights.items() if isinstance(weights, Mapping) else ())
        if isinstance(value, Tensor)
    )
    if not tensors:
        raise CheckpointMismatchError(
            "it holds no weights, but "
            f"{first_few(map(repr, checkpoint), 10) or 'nothing'}"
        )
    # What some modules translate by.
    vars(tensors)["_metadata"] = getattr(weights, "_metadata", {})
    return tensors


def fit_of(model: nn.Module, weights: Mapping[str, Tensor]) -> Fit:
    """Compare weights with a model's, as mmengine would load them.

    Names that modules of the model translate count as what they become.

    Args:
        model: a detector, also in wrappers. It is not changed.
        weights: as of :func:`weights_of`.
    """
    model = unwrapped(model)
    return compare(model.state_dict(), translated(model, weights))


def compare(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Fit:
    """Compare weights with a model's, name by name.

    Args:
        own: the model's.
        weights: those that it may take.
    """
    fit = Fit()
    for name, tensor in own.items():
        if name not in weights:
            if not name.endswith(BATCH_COUNTER):
                fit.missing.append(name)
        elif weights[name].shape != tensor.shape:
            fit.reshaped[name] = (
                f"{tuple(weights[name].shape)} instead of {tuple(tensor.shape)}"
            )
        else:
            fit.taken.append(name)
            if not torch.isfinite(weights[name]).all():
                fit.not_finite.append(name)
    fit.surplus = [name for name in weights if name not in own]
    return fit


def require_whole_fit(fit: Fit) -> None:
    """Refuse weights that do not make the model complete.

    What a checkpoint has beside is left to mmengine, which warns of it, but for layers
    of backbone, neck and transformer: then the model is a smaller one.

    Raises:
        CheckpointMismatchError: the message names what is missing, of another shape,
            too much or not finite.
    """
    require_finite(fit)
    surplus = [
        name
        for name in fit.surplus
        if _part(name) in _WHOLE_PARTS and not name.endswith(BATCH_COUNTER)
    ]
    faults = [
        f"{len(names)} {what}: {first_few(names, _NAMED)}"
        for what, names in (
            ("are missing", fit.missing),
            (
                "have another shape",
                [f"{name} {shapes}" for name, shapes in fit.reshaped.items()],
            ),
            ("are of layers that the model has not", surplus),
        )
        if names
    ]
    if faults:
        raise CheckpointMismatchError(f"it has {fit.summary()}; {'; '.join(faults)}")


def require_whole(
    model: nn.Module, checkpoint: Mapping, source: str | Path
) -> dict[str, Tensor]:
    """Refuse a checkpoint whose weights do not make the model complete.

    Args:
        model: as of :func:`fit_of`.
        checkpoint: what the file holds.
        source: the file's name, for the message.

    Returns:
        dict: the weights, as of :func:`weights_of`.

    Raises:
        CheckpointMismatchError: as :func:`require_whole_fit`; the message names the
            file.
        AttentionMismatchError: they are of the other kind of attention.
    """
    try:
        weights = weights_of(checkpoint)
        # Said first, because it knows what to do.
        refuse_other_attention(unwrapped(model), weights, "")
        require_whole_fit(fit_of(model, weights))
    except CheckpointMismatchError as error:
        raise CheckpointMismatchError(
            f"{source} does not fit the model: {error}"
        ) from None
    return weights


def load_whole(model: nn.Module, checkpoint: Mapping, source: str | Path) -> None:
    """Load weights that make the model complete.

    Args, and errors raised, as :func:`require_whole`; the model is changed.
    """
    load_state_dict(model, require_whole(model, checkpoint, source))


def require_part_fit(fit: Fit, model: nn.Module) -> None:
    """Refuse weights to start from that would leave the transformer as it was.

    Raises:
        CheckpointMismatchError: nothing of the encoder or of the decoder is taken, or a
            weight is not finite.
    """
    require_finite(fit)
    taken = _by_part(fit.taken)
    parts = [part for part in TRANSFORMER if hasattr(unwrapped(model), part)]
    empty = [part for part in parts if not taken[part]]
    if empty or not fit.taken:
        lacking = (
            f"nothing of the model's {' and '.join(empty)}" if empty else "nothing"
        )
        raise CheckpointMismatchError(
            f"{lacking} is in it, but "
            f"{first_few(fit.surplus, _NAMED) or 'other shapes'}: it has "
            f"{fit.summary()}. Weights of a backbone alone go to "
            "model.backbone.init_cfg=dict(type='Pretrained', checkpoint=...)"
        )


def require_finite(fit: Fit) -> None:
    """Refuse weights that hold a NaN or an infinity.

    Raises:
        CheckpointMismatchError: the message names them.
    """
    if fit.not_finite:
        raise CheckpointMismatchError(
            f"{len(fit.not_finite)} of its weights are not finite: "
            f"{first_few(fit.not_finite, _NAMED)}"
        )


def _part(name: str) -> str:
    return name.split(".")[0]


def _by_part(names: Iterable[str]) -> Counter[str]:
    return Counter(map(_part, names))
