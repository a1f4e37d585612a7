"""The attention operators in plain PyTorch: the definition that others must meet.

Runs on any device, differentiates twice and exports to ONNX. Half-precision inputs
are computed in float32.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def key_aware_deformable_attention(
    query: Tensor,
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    key: Tensor | None,
) -> Tensor:
    """Weigh the sampled values by softmax(query · sampled keys / sqrt(head_dims)).

    Args and result as in :func:`mmdet_lite.ops.key_aware_deformable_attention`.
    """
    dtype = _compute_dtype(value)
    locations = sampling_locations.to(dtype)
    values = _sample_levels(value.to(dtype), spatial_shapes, locations)
    keys = (
        values
        if key is None
        else _sample_levels(key.to(dtype), spatial_shapes, locations)
    )
    return _weighted_sum(values, _attention_weights(query.to(dtype), keys), value)


def key_aware_attention_weights(
    query: Tensor,
    key: Tensor,
    spatial_shapes: Tensor,
    sampling_locations: Tensor,
) -> Tensor:
    """The weights that key-aware attention gives to its samples, to look at them.

    Args as in :func:`mmdet_lite.ops.key_aware_deformable_attention`; ``key`` is the
    value where the attention has no keys of its own.

    Returns:
        Tensor: (batch, num_queries, num_heads, num_levels, num_points), of sum 1 over
        the last two.
    """
    dtype = _compute_dtype(key)
    keys = _sample_levels(key.to(dtype), spatial_shapes, sampling_locations.to(dtype))
    batch, num_queries, num_heads, num_levels, num_points = sampling_locations.shape[:5]
    weights = _attention_weights(query.to(dtype), keys)
    return weights.view(
        batch, num_heads, num_queries, num_levels, num_points
    ).transpose(1, 2)


def multi_scale_deformable_attention(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    """Weigh the sampled values by weights that the caller predicts.

    Args and result as in :func:`mmdet_lite.ops.multi_scale_deformable_attention`.
    """
    dtype = _compute_dtype(value)
    values = _sample_levels(
        value.to(dtype), spatial_shapes, sampling_locations.to(dtype)
    )
    # (batch, num_queries, num_heads, levels, points)
    # -> (batch * num_heads, 1, num_queries, levels * points)
    weights = attention_weights.to(dtype).permute(0, 2, 1, 3, 4).flatten(3)
    return _weighted_sum(values, weights.flatten(0, 1).unsqueeze(1), value)


def _compute_dtype(value: Tensor) -> torch.dtype:
    """Half precision loses the sum over points; accumulate it in float32."""
    return torch.float64 if value.dtype == torch.float64 else torch.float32


def _sample_levels(
    value: Tensor, spatial_shapes: Tensor, sampling_locations: Tensor
) -> Tensor:
    """Sample every level bilinearly, zeros outside, pixel centres at (i + 0.5) / W.

    Returns:
        Tensor: (batch * num_heads, head_dims, num_queries, num_levels * num_points).
    """
    batch, _, num_heads, head_dims = value.shape
    # What is no location is outside of every map; grid_sample would make NaN of it.
    locations = sampling_locations.nan_to_num(nan=-2.0, posinf=-2.0, neginf=-2.0)
    grids = 2 * locations - 1
    shapes = [(int(height), int(width)) for height, width in spatial_shapes]
    per_level = value.split([height * width for height, width in shapes], dim=1)
    samples = []
    for level, (level_value, (height, width)) in enumerate(
        zip(per_level, shapes, strict=True)
    ):
        # (batch, H * W, num_heads, head_dims) -> (batch * num_heads, head_dims, H, W)
        feature_map = level_value.permute(0, 2, 3, 1).reshape(
            batch * num_heads, head_dims, height, width
        )
        # (batch, num_queries, num_heads, points, 2)
        # -> (batch * num_heads, num_queries, points, 2)
        grid = grids[:, :, :, level].transpose(1, 2).flatten(0, 1)
        samples.append(
            F.grid_sample(
                feature_map,
                grid,
                mode="bilinear",
                padding_mode="zeros",
                align_corners=False,
            )
        )
    return torch.cat(samples, dim=-1)


def _attention_weights(query: Tensor, keys: Tensor) -> Tensor:
    """Softmax of query · sampled keys / sqrt(head_dims) over the samples of a query.

    Args:
        query: (batch, num_queries, num_heads, head_dims).
        keys: what :func:`_sample_levels` returns.

    Returns:
        Tensor: (batch * num_heads, 1, num_queries, num_levels * num_points).
    """
    # (batch, num_queries, num_heads, head_dims) -> (batch * num_heads, ..., 1)
    queries = query.permute(0, 2, 3, 1).flatten(0, 1).unsqueeze(-1)
    logits = (queries * keys).sum(1, keepdim=True) * query.shape[3] ** -0.5
    return logits.softmax(-1)


def _weighted_sum(values: Tensor, weights: Tensor, value: Tensor) -> Tensor:
    """Sum over the points and put the heads side by side: (batch, num_queries, ·)."""
    batch, _, num_heads, head_dims = value.shape
    output = (values * weights).sum(-1)
    output = output.view(batch, num_heads * head_dims, -1).transpose(1, 2)
    return output.contiguous().to(value.dtype)
