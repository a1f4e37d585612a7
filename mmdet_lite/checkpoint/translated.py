"""Weights under the names that a model's own loading gives them.

Modules rename what they are given as they load it: a semi-supervised detector gives
weights of a plain one to teacher and student, heads of mmdet know names of version 2.
"""

import copy
from collections.abc import Mapping

from torch import Tensor, nn


def translated(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by the names that the model takes them under.

    Args:
        model: it is not changed.
        weights: of a checkpoint, with the versions that PyTorch notes in their
            ``_metadata`` if there are any.
    """
    return _translate(model, dict(weights), "", getattr(weights, "_metadata", {}))


def _translate(
    module: nn.Module, weights: dict[str, Tensor], prefix: str, versions: Mapping
) -> dict[str, Tensor]:
    """As PyTorch and mmengine load: a child is given what its parent made of it."""
    if _has_a_loading_of_its_own(module):
        version = versions.get(prefix[:-1], {})
        _stand_in(module)._load_from_state_dict(
            weights, prefix, version, True, [], [], []
        )
    for name, child in module.named_children():
        inside = f"{prefix}{name}."
        part = {
            key: weights.pop(key) for key in list(weights) if key.startswith(inside)
        }
        weights |= _translate(child, part, inside, versions)
    return weights


def _has_a_loading_of_its_own(module: nn.Module) -> bool:
    by = type(module)._load_from_state_dict.__module__
    return bool(module._load_state_dict_pre_hooks) or not by.startswith("torch.")


def _stand_in(module: nn.Module) -> nn.Module:
    """The module with copies of its own tensors, as the loading fills them as well."""
    stand_in = copy.copy(module)
    stand_in._parameters = copy.deepcopy(module._parameters)
    stand_in._buffers = copy.deepcopy(module._buffers)
    return stand_in
