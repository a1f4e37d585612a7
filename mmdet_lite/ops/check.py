"""Hold every backend against the definition in float64, at a real image's size."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from .dispatch import Backend
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
from .sizes import Sizes


@dataclass(frozen=True)
class Check:
    """One backend, dtype and operator, compared.

    Attributes:
        backend: its name.
        dtype: of the features; locations are float32, or float64 with them.
        kind: of :data:`~mmdet_lite.ops.example.KINDS`.
        errors: by ``'output'`` and the names of the gradients, the largest difference
            from float64 as a part of the largest number.
        why_not: why the backend cannot run, and then there are no errors.
    """

    backend: str
    dtype: torch.dtype
    kind: str
    errors: dict[str, float]
    why_not: str | None = None

    @property
    def passed(self) -> bool:
        """Whether output and gradients are as near as the dtype allows."""
        output_tolerance, gradient_tolerance = TOLERANCES[self.dtype]
        return all(
            error <= (output_tolerance if name == "output" else gradient_tolerance)
            for name, error in self.errors.items()
        )


def check_backends(
    backends: list[Backend],
    device: torch.device,
    image_shape: tuple[int, int] = (800, 1066),
    num_queries: int | None = None,
) -> Iterator[Check]:
    """Run backends forward and backward in every dtype and compare.

    The definition is the reference backend in float64, given the same rounded numbers.

    Args:
        backends: those to run.
        device: where to run.
        image_shape: (height, width) whose maps of stride 8, 16, 32 and 64 are sampled.
        num_queries: of a call; None for as many as tokens.

    Yields:
        Check: a backend, dtype and operator at a time; one for all operators where a
        backend cannot run.
    """
    from .backends import reference

    arguments = example_arguments(image_shape, num_queries, device=device)
    sizes = Sizes.of(arguments["value"], arguments["sampling_locations"])
    for dtype in TOLERANCES:
        reasons = {
            backend.name: backend.why_not(device, dtype, sizes) for backend in backends
        }
        for name, reason in reasons.items():
            if reason is not None:
                yield Check(name, dtype, "all", {}, reason)
        running = [backend for backend in backends if reasons[backend.name] is None]
        if not running:
            continue
        cast = cast_arguments(arguments, dtype)
        exact_arguments = cast_arguments(cast, torch.float64)
        for kind in KINDS:
            define = operator_of(
                kind,
                reference.key_aware_deformable_attention,
                reference.multi_scale_deformable_attention,
            )
            exact = run_with_gradients(define, arguments_of(kind, exact_arguments))
            for backend in running:
                run = operator_of(kind, backend.key_aware, backend.plain)
                results = run_with_gradients(run, arguments_of(kind, cast))
                yield Check(backend.name, dtype, kind, relative_errors(results, exact))
