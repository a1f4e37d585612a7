"""Whether an optimizer's state is that of the training that goes on from it."""

from collections.abc import Mapping
from numbers import Number

from mmengine.optim import OptimWrapper, OptimWrapperDict

from .fit import CheckpointMismatchError


def require_optimizer_fit(optim_wrapper: OptimWrapper, checkpoint: Mapping) -> None:
    """Refuse a state that PyTorch would refuse, or take and fail at the first step.

    Args:
        optim_wrapper: of the training. Several optimizers are not looked at.
        checkpoint: of a training; it may have no optimizer's state.

    Raises:
        CheckpointMismatchError: the groups of parameters are others, as with another
            ``paramwise_cfg`` or other stages frozen, or it is of another optimizer.
    """
    state = checkpoint.get("optimizer", {})
    if isinstance(optim_wrapper, OptimWrapperDict) or "param_groups" not in state:
        return
    # The wrapper's own property has a group more, which is no optimizer's.
    own, saved = optim_wrapper.optimizer.param_groups, state["param_groups"]
    sizes = [[len(group["params"]) for group in groups] for groups in (saved, own)]
    if sizes[0] != sizes[1]:
        counts = [
            f"{len(groups)} groups of {sum(groups)} parameters" for groups in sizes
        ]
        raise CheckpointMismatchError(
            f"its optimizer has {counts[0]} and that of the config {counts[1]}: "
            "paramwise_cfg or what is frozen was changed, or the package. To start "
            "from its weights alone, use load_from or --weights"
        )
    for before, now in zip(saved, own, strict=True):
        # What releases of PyTorch have added are flags, and have defaults.
        missing = [
            name
            for name, value in now.items()
            if isinstance(value, Number | tuple)
            and not isinstance(value, bool)
            and name not in before
        ]
        if missing:
            raise CheckpointMismatchError(
                f"its optimizer has no {', '.join(missing)}, which the "
                f"{type(optim_wrapper.optimizer).__name__} of the config needs. To "
                "start from its weights alone, use load_from or --weights"
            )
