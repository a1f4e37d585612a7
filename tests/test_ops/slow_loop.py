"""Deformable attention spelled out sample by sample: the tests' own definition.

Shares nothing with the package. Differentiable, so that gradients can be compared.
"""

import math

import torch
from torch import Tensor


def bilinear_sample(level_map: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Sample a (height, width, dims) map at normalised x, y; zeros outside."""
    height, width, dims = level_map.shape
    column, row = x * width - 0.5, y * height - 0.5
    left, top = math.floor(column.item()), math.floor(row.item())
    result = level_map.new_zeros(dims)
    for i in (top, top + 1):
        for j in (left, left + 1):
            if 0 <= i < height and 0 <= j < width:
                weight = (1 - (row - i).abs()) * (1 - (column - j).abs())
                result = result + weight * level_map[i, j]
    return result


def sampled(tokens: Tensor, spatial_shapes: Tensor, points: Tensor) -> Tensor:
    """Sample one batch item and head: (S, D) at points (L, P, 2) gives (L * P, D)."""
    samples, start = [], 0
    for level, (height, width) in enumerate(spatial_shapes.tolist()):
        level_map = tokens[start : start + height * width].view(height, width, -1)
        start += height * width
        samples += [bilinear_sample(level_map, x, y) for x, y in points[level]]
    return torch.stack(samples)


def key_aware_attention(
    query: Tensor,
    value: Tensor,
    spatial_shapes: Tensor,
    sampling_locations: Tensor,
    key: Tensor | None = None,
    predicted_logits: Tensor | None = None,
) -> Tensor:
    """Loop over batch, queries and heads; (batch, num_queries, heads * dims)."""
    key = value if key is None else key
    batch, num_queries, num_heads, dims = query.shape
    rows = []
    for b in range(batch):
        for q in range(num_queries):
            for m in range(num_heads):
                points = sampling_locations[b, q, m]
                values = sampled(value[b, :, m], spatial_shapes, points)
                keys = sampled(key[b, :, m], spatial_shapes, points)
                logits = torch.stack([query[b, q, m] @ k for k in keys])
                logits = logits / math.sqrt(dims)
                if predicted_logits is not None:
                    logits = logits + predicted_logits[b, q, m].flatten()
                exponentials = logits.exp()
                weights = exponentials / exponentials.sum()
                rows.append(sum(w * v for w, v in zip(weights, values, strict=True)))
    return torch.stack(rows).view(batch, num_queries, num_heads * dims)


def plain_attention(
    value: Tensor,
    spatial_shapes: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    """Loop over batch, queries and heads; (batch, num_queries, heads * dims)."""
    batch, num_queries, num_heads = attention_weights.shape[:3]
    rows = []
    for b in range(batch):
        for q in range(num_queries):
            for m in range(num_heads):
                points = sampling_locations[b, q, m]
                values = sampled(value[b, :, m], spatial_shapes, points)
                weights = attention_weights[b, q, m].flatten()
                rows.append(sum(w * v for w, v in zip(weights, values, strict=True)))
    return torch.stack(rows).view(batch, num_queries, -1)
