"""Measure the backends of the attention operators on maps of a real image's size."""

from typing import Any

import torch
from torch import Tensor

from ..layers.key_aware_attention import KeyAwareDeformableAttention
from ..ops import (
    available_backends,
    key_aware_deformable_attention,
    multi_scale_deformable_attention,
)
from .timing import Run, peak_memory, time_interleaved

NUM_HEADS, HEAD_DIMS, NUM_POINTS = 8, 32, 4
STRIDES = (8, 16, 32, 64)


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
    rows = []
    for count in num_queries:
        for dtype in dtypes:
            arguments = _arguments(image_shape, count, batch, device)
            exact = _results(arguments, torch.float64, "reference")
            cast = _cast(arguments, dtype)
            for operator in ("plain", "key-aware", "key-aware, separate key"):
                for backward in (False, True):
                    subjects = {
                        backend: _subject(cast, operator, backward, backend)
                        for backend in available_backends(device, dtype)
                    }
                    times = time_interleaved(subjects, repeats, device)
                    for backend, subject in subjects.items():
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
                                "peak_memory": peak_memory(subject, device),
                                "max_error": _relative_error(
                                    _results(arguments, dtype, backend)[operator],
                                    exact[operator],
                                ),
                            }
                        )
    return rows


def _arguments(
    image_shape: tuple[int, int],
    num_queries: int | None,
    batch: int,
    device: torch.device,
) -> dict[str, Tensor]:
    """Random features, sampled where the encoder's queries sample at the start.

    Every query samples around its own token, in the directions of the initial offsets,
    with an offset of its own of about a pixel: neighbours share much of what they read,
    as they do in a model.
    """
    generator = torch.Generator().manual_seed(0)
    shapes = torch.tensor(
        [[-(-side // stride) for side in image_shape] for stride in STRIDES]
    )
    starts = shapes.prod(1).cumsum(0) - shapes.prod(1)
    centres = torch.cat([_pixel_centres(*shape) for shape in shapes.tolist()])
    centres = centres[-num_queries:] if num_queries is not None else centres
    attention = KeyAwareDeformableAttention(
        NUM_HEADS * HEAD_DIMS, NUM_HEADS, len(STRIDES), NUM_POINTS
    )
    points = (NUM_HEADS, len(STRIDES), NUM_POINTS)
    offsets = attention.sampling_offsets.bias.detach().view(*points, 2)
    queries = (batch, len(centres), NUM_HEADS, HEAD_DIMS)
    tokens = (batch, int(shapes.prod(1).sum()), NUM_HEADS, HEAD_DIMS)
    noise = torch.randn(batch, len(centres), *points, 2, generator=generator)
    locations = (
        centres[:, None, None, None] + (offsets + noise) / shapes.flip(1)[:, None]
    )
    weights = torch.randn(batch, len(centres), *points, generator=generator)
    arguments = {
        "query": torch.randn(queries, generator=generator),
        "value": torch.randn(tokens, generator=generator),
        "key": torch.randn(tokens, generator=generator),
        "spatial_shapes": shapes,
        "level_start_index": starts,
        "sampling_locations": locations,
        "attention_weights": weights.flatten(3).softmax(-1).view(weights.shape),
    }
    return {name: tensor.to(device) for name, tensor in arguments.items()}


def _pixel_centres(height: int, width: int) -> Tensor:
    """Normalised (x, y) of every pixel of a map, row by row."""
    rows = (torch.arange(height) + 0.5) / height
    columns = (torch.arange(width) + 0.5) / width
    return torch.cartesian_prod(rows, columns).flip(-1)


def _cast(arguments: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Give the features a dtype; locations keep float32 but for float64."""
    cast = dict(arguments)
    for name in ("query", "value", "key", "attention_weights"):
        cast[name] = arguments[name].to(dtype)
    if dtype == torch.float64:
        cast["sampling_locations"] = arguments["sampling_locations"].double()
    return cast


def _call(arguments: dict[str, Tensor], operator: str, backend: str) -> Tensor:
    shared = {
        name: arguments[name]
        for name in (
            "value",
            "spatial_shapes",
            "level_start_index",
            "sampling_locations",
        )
    }
    if operator == "plain":
        weights = arguments["attention_weights"]
        return multi_scale_deformable_attention(
            **shared, attention_weights=weights, backend=backend
        )
    key = arguments["key"] if operator == "key-aware, separate key" else None
    return key_aware_deformable_attention(
        query=arguments["query"], **shared, key=key, backend=backend
    )


def _subject(
    arguments: dict[str, Tensor], operator: str, backward: bool, backend: str
) -> Run:
    if not backward:
        return torch.no_grad()(lambda: _call(arguments, operator, backend))
    leaves = {
        name: tensor.detach().requires_grad_(tensor.is_floating_point())
        for name, tensor in arguments.items()
    }
    gradient = torch.ones_like(_call(arguments, operator, backend))
    used = ["value", "sampling_locations"]
    used += ["attention_weights"] if operator == "plain" else ["query"]
    used += ["key"] if operator == "key-aware, separate key" else []

    def run() -> None:
        torch.autograd.grad(
            _call(leaves, operator, backend), [leaves[name] for name in used], gradient
        )

    return run


@torch.no_grad()
def _results(
    arguments: dict[str, Tensor], dtype: torch.dtype, backend: str
) -> dict[str, Tensor]:
    cast = _cast(arguments, dtype)
    return {
        operator: _call(cast, operator, backend).double()
        for operator in ("plain", "key-aware", "key-aware, separate key")
    }


def _relative_error(actual: Tensor, exact: Tensor) -> float:
    return float((actual - exact).abs().max() / exact.abs().max())
