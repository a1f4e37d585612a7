"""Sizes of the feature levels as Python numbers, while a caller knows them.

mmdet reads them out of a tensor, for which a GPU has to finish first and a graph that
is being captured breaks. Its hooks get that tensor all the same; what is in between
asks here. Each thread has its own, so that several may use one model.
"""

import threading
from collections.abc import Sequence

import torch
from torch import Tensor

_of_this_thread = threading.local()


def level_shapes_tensor(
    level_shapes: Sequence[tuple[int, int]], device: torch.device
) -> Tensor:
    """Put the sizes of levels on a device, without waiting for a GPU.

    Args:
        level_shapes: (height, width) of each level.
        device: where to.

    Returns:
        Tensor: (num_levels, 2), int64.
    """
    if device.type != "cuda":
        return torch.tensor(level_shapes, device=device)
    # A copy from the processor waits for the GPU, and no CUDA graph can have it.
    sides = [
        torch.full((), side, dtype=torch.int64, device=device)
        for shape in level_shapes
        for side in shape
    ]
    return torch.stack(sides).view(-1, 2)


def known_level_shapes() -> tuple[tuple[int, int], ...] | None:
    """(height, width) of each level of the pass that this thread is in, or None."""
    return getattr(_of_this_thread, "level_shapes", None)


def set_level_shapes(level_shapes: Sequence[tuple[int, int]] | None) -> None:
    """Say them when a pass of a detector begins, and None when it ends.

    Args:
        level_shapes: (height, width) of each level.
    """
    _of_this_thread.level_shapes = None if level_shapes is None else tuple(level_shapes)
