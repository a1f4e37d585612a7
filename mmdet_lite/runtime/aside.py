"""Work amid a prediction that is no part of it, for whoever measures the prediction."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

Pause = Callable[[], AbstractContextManager[None]]
_pauses: list[Pause] = []


@contextmanager
def pausing(pause: Pause) -> Iterator[None]:
    """Have a measurement pause for what is done aside.

    Args:
        pause: makes the context that such work is done in.
    """
    _pauses.append(pause)
    try:
        yield
    finally:
        _pauses.remove(pause)


@contextmanager
def aside() -> Iterator[None]:
    """Do what is no part of the prediction that it is done in."""
    with ExitStack() as stack:
        for pause in _pauses:
            stack.enter_context(pause())
        yield
