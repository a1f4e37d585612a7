"""Random operator arguments for the tests."""

from dataclasses import dataclass

import torch
from torch import Tensor

SPATIAL_SHAPES = ((6, 5), (3, 4), (1, 2))


@dataclass
class OperatorInputs:
    """Arguments of both operators, as the contract names and shapes them."""

    query: Tensor
    key: Tensor
    value: Tensor
    spatial_shapes: Tensor
    level_start_index: Tensor
    sampling_locations: Tensor
    attention_weights: Tensor
    predicted_logits: Tensor

    def key_aware(self) -> dict[str, Tensor]:
        """Arguments of key-aware attention in which the key is the value."""
        names = ("query", "value", "spatial_shapes", "level_start_index")
        return {name: getattr(self, name) for name in (*names, "sampling_locations")}

    def plain(self) -> dict[str, Tensor]:
        """Arguments of plain deformable attention."""
        names = ("value", "spatial_shapes", "level_start_index", "sampling_locations")
        return {name: getattr(self, name) for name in (*names, "attention_weights")}


def make_inputs(
    batch: int = 2,
    num_queries: int = 7,
    num_heads: int = 2,
    head_dims: int = 4,
    num_points: int = 3,
    spatial_shapes: tuple[tuple[int, int], ...] = SPATIAL_SHAPES,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> OperatorInputs:
    """Draw arguments; locations reach outside and keep away from pixel centres.

    Bilinear sampling has no derivative where a location hits a pixel centre's row or
    column, so finite differences across it would be meaningless.
    """
    generator = torch.Generator().manual_seed(seed)
    shapes = torch.tensor(spatial_shapes)
    sizes = shapes.prod(1)
    num_levels = len(spatial_shapes)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    points = (batch, num_queries, num_heads, num_levels, num_points)
    pixels = (uniform(*points, 2) * 1.6 - 0.3) * shapes.flip(1)[:, None] - 0.5
    fraction = (pixels - pixels.floor()).clamp(0.05, 0.95)
    locations = (pixels.floor() + fraction + 0.5) / shapes.flip(1)[:, None]
    tokens = (batch, int(sizes.sum()), num_heads, head_dims)
    weights = normal(*points).flatten(3).softmax(-1).view(points)
    return OperatorInputs(
        query=normal(batch, num_queries, num_heads, head_dims).to(dtype),
        key=normal(*tokens).to(dtype),
        value=normal(*tokens).to(dtype),
        spatial_shapes=shapes,
        level_start_index=sizes.cumsum(0) - sizes,
        sampling_locations=locations.to(dtype),
        attention_weights=weights.to(dtype),
        predicted_logits=normal(*points).to(dtype),
    )
