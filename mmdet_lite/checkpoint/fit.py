"""Refuse weights that do not fit a model, of which mmengine only warns."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from ..errors import ConfigError


def require_fit(
    model: nn.Module, weights: Mapping[str, Tensor], path: str | Path
) -> None:
    """Load weights, and refuse them unless they fill every tensor of the model.

    Weights that the model has no place for are left out.

    Args:
        model: takes the weights.
        weights: tensors by name, as ``state_dict`` of a checkpoint of mmengine.
        path: of the checkpoint, for the message.

    Raises:
        ConfigError: tensors of the model are missing or have another shape; the
            message names the first of them.
    """
    # As mmengine does: a model that was trained in a wrapper has names with its prefix.
    weights = {name.removeprefix("module."): value for name, value in weights.items()}
    try:
        missing, _ = model.load_state_dict(weights, strict=False)
    except ConfigError:
        raise
    except RuntimeError as error:
        faults = [line.strip() for line in str(error).splitlines()[1:]]
        raise ConfigError(
            f"{path} does not fit the model: {faults[0].rstrip('.')}"
            + (f", and {len(faults) - 1} more" if len(faults) > 1 else "")
        ) from error
    # Written by some versions of PyTorch only, and read by training only.
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing:
        raise ConfigError(
            f"{path} does not fit the model: it lacks {len(missing)} of its "
            f"{len(model.state_dict())} tensors, such as {missing[0]}"
        )
