"""Sizes of the feature levels as Python numbers, while a caller knows them.

mmdet reads them out of a tensor, for which a GPU has to finish first and a graph that
is being captured breaks. Its hooks get that tensor all the same; what is in between
asks here. Each thread has its own, so that several may use one model.
"""

import threading
from collections.abc import Sequence

_of_this_thread = threading.local()


def known_level_shapes() -> tuple[tuple[int, int], ...] | None:
    """(height, width) of each level of the pass that this thread is in, or None."""
    return getattr(_of_this_thread, "level_shapes", None)


def set_level_shapes(level_shapes: Sequence[tuple[int, int]] | None) -> None:
    """Say them when a pass of a detector begins, and None when it ends.

    Args:
        level_shapes: (height, width) of each level.
    """
    _of_this_thread.level_shapes = None if level_shapes is None else tuple(level_shapes)
