"""Measure the backends of the attention operators on maps of a real image's size."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from ..ops import (
    available_backends,
    key_aware_deformable_attention,
    multi_scale_deformable_attention,
)
from ..ops.example import (
    KINDS,
    arguments_of,
    cast_arguments,
    example_arguments,
    leaves_of,
    operator_of,
    relative_errors,
)
from .peak_memory import peak_memories
from .timing import Run, time_interleaved


def measure_operators(
    image_shape: tuple[int, int],
    num_queries: list[int | None],
    dtypes: list[torch.dtype],
    device: torch.device,
    repeats: int,
    batch: int = 1,
) -> list[dict[str, Any]]:
    """Time every backend of both operators, forward and with its backward.

    Args:
        image_shape: (height, width) whose maps of stride 8, 16, 32 and 64 are sampled.
        num_queries: for each number the last so many tokens are the queries; None
            means all.
        dtypes: of query, key, value and weights; locations are float32.
        device: where to run.
        repeats: counted runs.
        batch: images.

    Returns:
        list: a row for each operator, direction, number of queries, dtype and backend:
        time, ``peak_memory`` in bytes and ``max_error``, the greatest difference of the
        result from the reference's in float64 in relation to its greatest value.
    """
    rows: list[dict[str, Any]] = []
    builders: list[Callable[[], Run]] = []
    for count in num_queries:
        for dtype in dtypes:
            arguments = example_arguments(image_shape, count, batch, device)
            exact = _results(arguments, torch.float64, "reference")
            cast = cast_arguments(arguments, dtype)
            for operator in KINDS:
                for backward in (False, True):
                    subjects = {
                        backend: _subject(cast, operator, backward, backend)
                        for backend in available_backends(device, dtype)
                    }
                    times = time_interleaved(subjects, repeats, device)
                    for backend in subjects:
                        case = (dtype, operator, backward, backend)
                        maps = (image_shape, count, batch, device)
                        builders.append(partial(_example_subject, *maps, *case))
                        rows.append(
                            {
                                "operator": operator,
                                "direction": "forward + backward"
                                if backward
                                else "forward",
                                "num_queries": cast["sampling_locations"].shape[1],
                                "num_tokens": cast["value"].shape[1],
                                "batch": batch,
                                "dtype": str(dtype).removeprefix("torch."),
                                "backend": backend,
                                "time": times[backend],
                                "max_error": relative_errors(
                                    _results(arguments, dtype, backend), exact
                                )[operator],
                            }
                        )
    memories = peak_memories(builders, device)
    for row, memory in zip(rows, memories, strict=True):
        row["peak_memory"] = memory
    return rows


def _call(arguments: dict[str, Tensor], operator: str, backend: str) -> Tensor:
    run = operator_of(
        operator, key_aware_deformable_attention, multi_scale_deformable_attention
    )
    return run(**arguments_of(operator, arguments), backend=backend)


def _example_subject(
    image_shape: tuple[int, int],
    count: int | None,
    batch: int,
    device: torch.device,
    dtype: torch.dtype,
    operator: str,
    backward: bool,
    backend: str,
) -> Run:
    arguments = _example(image_shape, count, batch, device)
    return _subject(cast_arguments(arguments, dtype), operator, backward, backend)


# Drawing them takes longer than most runs; those of one size follow each other.
_example = lru_cache(maxsize=1)(example_arguments)


def _subject(
    arguments: dict[str, Tensor], operator: str, backward: bool, backend: str
) -> Run:
    if not backward:
        return torch.no_grad()(lambda: _call(arguments, operator, backend))
    leaves = leaves_of(arguments_of(operator, arguments))
    gradient = torch.ones_like(_call(arguments, operator, backend))
    used = list(leaves.values())

    def run() -> None:
        output = _call({**arguments, **leaves}, operator, backend)
        torch.autograd.grad(output, used, gradient)

    return run


@torch.no_grad()
def _results(
    arguments: dict[str, Tensor], dtype: torch.dtype, backend: str
) -> dict[str, Tensor]:
    cast = cast_arguments(arguments, dtype)
    return {operator: _call(cast, operator, backend).double() for operator in KINDS}
