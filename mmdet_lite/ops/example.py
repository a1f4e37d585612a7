"""Calls of the operators as an encoder makes them, to try and to time backends."""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

STRIDES = (8, 16, 32, 64)
NUM_HEADS, HEAD_DIMS, NUM_POINTS = 8, 32, 4

SEPARATE_KEY = "key-aware, separate key"
PREDICTED_LOGITS = "key-aware, predicted logits"
KINDS = ("plain", "key-aware", SEPARATE_KEY, PREDICTED_LOGITS)
"""The operators, key-aware attention with and without keys of its own, and with logits
that the query predicts."""


def example_arguments(
    image_shape: tuple[int, int] = (800, 1066),
    num_queries: int | None = None,
    batch: int = 1,
    device: torch.device | str = "cpu",
) -> dict[str, Tensor]:
    """Random features, sampled where the encoder's queries sample at the start.

    Every query samples around its own token, in the directions of the initial offsets,
    with an offset of its own of about a pixel: neighbours share much of what they read,
    as they do in a model. No location is near a pixel's centre, where the derivative
    jumps and rounding would decide between its two values.

    Args:
        image_shape: (height, width) whose maps of stride 8, 16, 32 and 64 are sampled.
        num_queries: the last so many tokens are the queries; None means all.
        batch: images.
        device: where the tensors are to be.

    Returns:
        dict: float32 tensors and the levels, by the operators' argument names.
    """
    generator = torch.Generator().manual_seed(0)
    shapes = torch.tensor(
        [[math.ceil(side / stride) for side in image_shape] for stride in STRIDES]
    )
    sizes = shapes.prod(1)
    centres = torch.cat([_pixel_centres(*shape) for shape in shapes.tolist()])
    centres = centres[-num_queries:] if num_queries is not None else centres
    points = (NUM_HEADS, len(STRIDES), NUM_POINTS)
    queries = (batch, len(centres), NUM_HEADS, HEAD_DIMS)
    tokens = (batch, int(sizes.sum()), NUM_HEADS, HEAD_DIMS)
    # Whatever the default dtype is.
    randn = functools.partial(torch.randn, generator=generator, dtype=torch.float32)
    noise = randn(batch, len(centres), *points, 2)
    pixels = centres[:, None, None, None] * shapes.flip(1)[:, None] - 0.5
    pixels = pixels + _initial_offsets() + noise
    fraction = (pixels - pixels.floor()).clamp(0.01, 0.99)
    locations = (pixels.floor() + fraction + 0.5) / shapes.flip(1)[:, None]
    weights = randn(batch, len(centres), *points)
    arguments = {
        "query": randn(queries),
        "value": randn(tokens),
        "key": randn(tokens),
        "spatial_shapes": shapes,
        "level_start_index": sizes.cumsum(0) - sizes,
        "sampling_locations": locations,
        "attention_weights": weights.flatten(3).softmax(-1).view(weights.shape),
        "predicted_logits": randn(weights.shape),
    }
    return {name: tensor.to(device) for name, tensor in arguments.items()}


def _pixel_centres(height: int, width: int) -> Tensor:
    """Normalised (x, y) of every pixel of a map, row by row."""
    rows = (torch.arange(height, dtype=torch.float32) + 0.5) / height
    columns = (torch.arange(width, dtype=torch.float32) + 0.5) / width
    return torch.cartesian_prod(rows, columns).flip(-1)


def _initial_offsets() -> Tensor:
    """(NUM_HEADS, 1, NUM_POINTS, 2), pixels: a direction a head, point i i away."""
    angles = torch.arange(NUM_HEADS, dtype=torch.float32) * (2 * math.pi / NUM_HEADS)
    directions = torch.stack([angles.cos(), angles.sin()], -1)
    directions = directions / directions.abs().amax(-1, keepdim=True)
    return directions[:, None, None] * torch.arange(1, NUM_POINTS + 1)[:, None]


def cast_arguments(
    arguments: dict[str, Tensor], dtype: torch.dtype
) -> dict[str, Tensor]:
    """Give the features a dtype; locations keep float32 but for float64."""
    cast = dict(arguments)
    for name in ("query", "value", "key", "attention_weights", "predicted_logits"):
        cast[name] = arguments[name].to(dtype)
    if dtype == torch.float64:
        cast["sampling_locations"] = arguments["sampling_locations"].double()
    return cast


def operator_of(
    kind: str, key_aware: Callable[..., Tensor], plain: Callable[..., Tensor]
) -> Callable[..., Tensor]:
    """Pick the operator of a kind.

    Args:
        kind: of :data:`KINDS`.
        key_aware: a backend's key-aware attention, or the package's.
        plain: its plain deformable attention.
    """
    return plain if kind == "plain" else key_aware


def arguments_of(kind: str, arguments: dict[str, Tensor]) -> dict[str, Any]:
    """Pick what an operator takes.

    Args:
        kind: of :data:`KINDS`.
        arguments: all that :func:`example_arguments` gives.
    """
    names = ["value", "spatial_shapes", "level_start_index", "sampling_locations"]
    if kind == "plain":
        return {name: arguments[name] for name in (*names, "attention_weights")}
    picked: dict[str, Tensor | None] = {
        name: arguments[name] for name in ("query", *names)
    }
    for kind_with_it, name in (
        (SEPARATE_KEY, "key"),
        (PREDICTED_LOGITS, "predicted_logits"),
    ):
        picked[name] = arguments[name] if kind == kind_with_it else None
    return picked


def leaves_of(arguments: dict[str, Tensor | None]) -> dict[str, Tensor]:
    """Those of an operator's arguments that have a gradient, to be asked for it."""
    return {
        name: tensor.detach().requires_grad_()
        for name, tensor in arguments.items()
        if tensor is not None and tensor.is_floating_point()
    }


def run_with_gradients(
    operator: Callable[..., Tensor], arguments: dict[str, Tensor | None]
) -> dict[str, Tensor]:
    """The output and the gradients of a fixed weighted sum of it.

    Args:
        operator: one of the operators, or a backend's function.
        arguments: of that operator.

    Returns:
        dict: ``'output'``, and a gradient by the name of each floating argument.
    """
    leaves = leaves_of(arguments)
    with torch.enable_grad():
        output = operator(**{**arguments, **leaves})
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(output.shape, generator=generator).to(output)
    grads = torch.autograd.grad(output, list(leaves.values()), weights)
    return {"output": output.detach(), **dict(zip(leaves, grads, strict=True))}


TOLERANCES = {
    torch.float64: (1e-12, 1e-12),
    torch.float32: (2e-5, 5e-5),
    torch.float16: (2e-3, 1e-2),
    torch.bfloat16: (1.6e-2, 5e-2),
}
"""By dtype, how far output and gradients may be from the definition in float64, as a
part of the largest number."""


def relative_errors(
    results: dict[str, Tensor], exact: dict[str, Tensor]
) -> dict[str, float]:
    """Largest difference from the exact result as a part of its largest number.

    NaN in a result counts as infinite.
    """
    errors = {}
    for name, wanted in exact.items():
        error = (results[name].double() - wanted).abs().max() / wanted.abs().max()
        errors[name] = float(error.nan_to_num(nan=float("inf")))
    return errors
