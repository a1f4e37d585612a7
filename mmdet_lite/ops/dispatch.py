"""The choice between the backends of the attention operators.

A backend is one way to run both operators. The earlier one is registered, the more
``backend='auto'`` prefers it.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from .sizes import Sizes

ENVIRONMENT_VARIABLE = "MMDET_LITE_BACKEND"


class BackendUnavailableError(RuntimeError):
    """A backend was asked for by name that cannot run here; the message says why."""


@dataclass(frozen=True)
class Backend:
    """One way to run the operators.

    Args:
        name: what users write in ``backend=``.
        key_aware: runs key-aware attention on checked arguments.
        plain: runs plain deformable attention on checked arguments.
        why_not: given a device, a dtype and the sizes of a call (None: of any call),
            says why the backend cannot serve them, or None if it can.
        device_type: the kind of device that the backend is made for: ``'auto'`` takes
            it on no other, and warns once if it must do without it there. None for a
            backend made for all.
    """

    name: str
    key_aware: Callable[..., Tensor]
    plain: Callable[..., Tensor]
    why_not: Callable[[torch.device, torch.dtype, Sizes | None], str | None]
    device_type: str | None = None


_BACKENDS: dict[str, Backend] = {}
_WARNED_OF: set[tuple[str, torch.device, torch.dtype]] = set()
_FORCED: list[Backend] = []


def register_backend(backend: Backend) -> None:
    """Make a backend known; earlier ones are preferred by ``'auto'``."""
    if backend.name in _BACKENDS or backend.name == "auto":
        raise ValueError(f"a backend named {backend.name!r} exists already")
    _BACKENDS[backend.name] = backend


@contextmanager
def force_backend(backend: Backend) -> Iterator[None]:
    """Run every call on one backend for a while, whatever it asks for by name.

    It is for analysis, which needs to see the calls and not their results.

    Args:
        backend: need not be registered, nor serve the device and dtype.
    """
    _FORCED.append(backend)
    try:
        yield
    finally:
        _FORCED.pop()


def all_backends() -> list[Backend]:
    """Every backend that the package knows, best first."""
    return list(_BACKENDS.values())


def available_backends(
    device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> list[str]:
    """Names of the backends that can serve a device and dtype here, best first."""
    device = torch.device(device)
    return [
        backend.name
        for backend in _BACKENDS.values()
        if backend.why_not(device, dtype, None) is None
    ]


def select_backend(
    name: str, device: torch.device, dtype: torch.dtype, sizes: Sizes | None = None
) -> Backend:
    """Resolve ``backend=``: a name, or ``'auto'`` for the best that can run.

    ``MMDET_LITE_BACKEND`` takes the place of ``'auto'`` where it is set. While a graph
    is exported, ``'auto'`` is the reference: no exchange format has fused operators.

    Args:
        name: of a backend, or ``'auto'``.
        device: where the tensors are.
        dtype: of value.
        sizes: of the call; None for a backend that serves some call.

    Raises:
        ValueError: the name is not one of the registered backends.
        BackendUnavailableError: the named backend cannot serve such inputs.
    """
    if _FORCED:
        return _FORCED[-1]
    if name == "auto":
        name = os.environ.get(ENVIRONMENT_VARIABLE, "") or "auto"
    if name == "auto":
        return _select_best(device, dtype, sizes)
    if name not in _BACKENDS:
        known = ", ".join(repr(known) for known in ("auto", *_BACKENDS))
        raise ValueError(f"backend must be one of {known}, but got {name!r}")
    reason = _BACKENDS[name].why_not(device, dtype, sizes)
    if reason is not None:
        raise BackendUnavailableError(f"backend {name!r} cannot run here: {reason}")
    return _BACKENDS[name]


def _select_best(
    device: torch.device, dtype: torch.dtype, sizes: Sizes | None
) -> Backend:
    if _is_exporting():
        return _BACKENDS["reference"]
    for backend in _BACKENDS.values():
        if backend.device_type not in (None, device.type):
            continue
        reason = backend.why_not(device, dtype, sizes)
        if reason is None:
            return backend
        if backend.device_type is not None:
            _warn_once(backend.name, device, dtype, reason)
    raise BackendUnavailableError(f"no backend serves {dtype} on {device}")


# A graph that is being captured cannot hold a warning.
@torch.compiler.assume_constant_result
def _warn_once(
    name: str, device: torch.device, dtype: torch.dtype, reason: str
) -> None:
    if (name, device, dtype) in _WARNED_OF:
        return
    _WARNED_OF.add((name, device, dtype))
    warnings.warn(
        f"backend {name!r} cannot run here: {reason}; a slower one takes its place",
        stacklevel=5,
    )


def _is_exporting() -> bool:
    # PyTorch before 2.7 does not say that torch.export is at work.
    is_exporting = getattr(torch.compiler, "is_exporting", lambda: False)
    return torch.jit.is_tracing() or torch.onnx.is_in_onnx_export() or is_exporting()
