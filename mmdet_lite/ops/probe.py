"""Try a backend once before trusting it: on a GPU nobody may have run it on yet."""

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from .example import (
    KINDS,
    TOLERANCES,
    arguments_of,
    cast_arguments,
    example_arguments,
    operator_of,
    relative_errors,
    run_with_gradients,
)

# 256 queries: more than one program of a kernel.
_IMAGE_SHAPE = (96, 128)


@functools.cache
def fault_of(
    key_aware: Callable[..., Tensor],
    plain: Callable[..., Tensor],
    device: torch.device,
) -> str | None:
    """Compare a backend with the definition on a small input, forward and backward.

    Args:
        key_aware: the backend's key-aware attention.
        plain: its plain deformable attention.
        device: where to run; float32.

    Returns:
        str | None: what is wrong, in a line; None if nothing is. It is remembered.
    """
    with _modes_of_its_own(device):
        return _compare(key_aware, plain, device)


@contextmanager
def _modes_of_its_own(device: torch.device) -> Iterator[None]:
    """Leave out what the first caller has switched on: the answer is for all.

    In inference mode there are no gradients, of the definition on a GPU there are no
    deterministic ones, the example is drawn on the processor, and a mode that runs
    operations without numbers (FakeTensorMode) has nothing to compare.
    """
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    with ExitStack() as stack:
        stack.callback(
            torch.use_deterministic_algorithms, deterministic, warn_only=warn_only
        )
        torch.use_deterministic_algorithms(False)
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.autocast(device.type, enabled=False))
        stack.enter_context(_disable_current_modes())
        stack.enter_context(torch.device("cpu"))
        yield


def _compare(
    key_aware: Callable[..., Tensor],
    plain: Callable[..., Tensor],
    device: torch.device,
) -> str | None:
    """Arguments and result as :func:`fault_of`."""
    from .backends import reference

    arguments = example_arguments(_IMAGE_SHAPE, device=device)
    exact_arguments = cast_arguments(arguments, torch.float64)
    for kind in KINDS:
        run = operator_of(kind, key_aware, plain)
        define = operator_of(
            kind,
            reference.key_aware_deformable_attention,
            reference.multi_scale_deformable_attention,
        )
        exact = run_with_gradients(define, arguments_of(kind, exact_arguments))
        try:
            results = run_with_gradients(run, arguments_of(kind, arguments))
        # A compiler, a driver, a launch: anything may fail, and another backend serves.
        except Exception as failure:
            lines = str(failure).strip().splitlines() or [""]
            return f"{kind} attention failed: {type(failure).__name__}: {lines[0]}"
        for name, error in relative_errors(results, exact).items():
            tolerance = TOLERANCES[torch.float32][0 if name == "output" else 1]
            if not error <= tolerance:
                what = "output" if name == "output" else f"gradient of {name}"
                return (
                    f"its {what} of {kind} attention is off by {error:.1g} of the "
                    "largest number"
                )
    return None
