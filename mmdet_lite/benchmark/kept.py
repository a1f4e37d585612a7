"""What a training step keeps for its backward pass, by the part of the model."""

from collections import Counter
from collections.abc import Callable

from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

OUTSIDE = "elsewhere"
"""The part that has what no module with a name keeps."""


def kept_by_part(model: nn.Module, step: Callable[[], object]) -> dict[str, int]:
    """Add up the tensors that a step keeps for its backward pass.

    Memory that several tensors share counts once, where it is kept first, and
    parameters and buffers, which are there anyway, do not count.

    Args:
        model: whose modules run in the step.
        step: runs once, forward and backward.

    Returns:
        dict: bytes by the name of a child of the model, such as ``backbone``, most
        first; :data:`OUTSIDE` is what the model keeps outside of its children.
    """
    own = [*model.parameters(), *model.buffers()]
    # Whoever keeps an address here keeps the tensor too: another cannot take its place.
    seen = {_memory_of(tensor): tensor for tensor in own}
    kept: Counter[str] = Counter()
    running: list[str] = []

    def keep(tensor: Tensor) -> Tensor:
        if _memory_of(tensor) not in seen:
            seen[_memory_of(tensor)] = tensor
            part = running[-1] if running else OUTSIDE
            kept[part] += tensor.untyped_storage().nbytes()
        return tensor

    handles = []
    for path, module in model.named_modules():
        part = path.split(".")[0] or OUTSIDE
        handles.append(
            module.register_forward_pre_hook(lambda *_, part=part: running.append(part))
        )
        handles.append(
            module.register_forward_hook(
                lambda *_: running.pop() and None, always_call=True
            )
        )
    try:
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            step()
    finally:
        for handle in handles:
            handle.remove()
    return dict(kept.most_common())


def _memory_of(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
