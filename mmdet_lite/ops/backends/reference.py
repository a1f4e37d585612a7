"""The attention operators in plain PyTorch: the definition that others must meet.

Runs on any device, differentiates twice and exports to ONNX. Half-precision inputs
are computed in float32.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..sizes import Sizes


def why_not(
    device: torch.device, dtype: torch.dtype, sizes: Sizes | None = None
) -> None:
    """Serves everything."""


def key_aware_deformable_attention(
    query: Tensor,
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    key: Tensor | None,
    predicted_logits: Tensor | None,
) -> Tensor:
    """Weigh the sampled values by softmax(query · sampled keys / sqrt(head_dims)).

    The predicted logits, if there are, are added before the softmax.

    Args and result as in :func:`mmdet_lite.ops.key_aware_deformable_attention`.
    """
    dtype = _compute_dtype(value)
    locations = sampling_locations.to(dtype)
    shapes = _read_levels(spatial_shapes, level_start_index, value.shape[1])
    values = _sample_levels(value.to(dtype), shapes, locations)
    keys = values if key is None else _sample_levels(key.to(dtype), shapes, locations)
    weights = _attention_weights(query.to(dtype), keys, predicted_logits)
    return _weighted_sum(values, weights, value)


def key_aware_attention_weights(
    query: Tensor,
    key: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    predicted_logits: Tensor | None = None,
) -> Tensor:
    """The weights that key-aware attention gives to its samples, to look at them.

    Args as in :func:`mmdet_lite.ops.key_aware_deformable_attention`; ``key`` is the
    value where the attention has no keys of its own.

    Returns:
        Tensor: (batch, num_queries, num_heads, num_levels, num_points), of sum 1 over
        the last two.
    """
    dtype = _compute_dtype(key)
    shapes = _read_levels(spatial_shapes, level_start_index, key.shape[1])
    keys = _sample_levels(key.to(dtype), shapes, sampling_locations.to(dtype))
    batch, num_queries, num_heads, num_levels, num_points = sampling_locations.shape[:5]
    weights = _attention_weights(query.to(dtype), keys, predicted_logits)
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
    shapes = _read_levels(spatial_shapes, level_start_index, value.shape[1])
    values = _sample_levels(value.to(dtype), shapes, sampling_locations.to(dtype))
    return _weighted_sum(values, _by_head(attention_weights.to(dtype)), value)


def _compute_dtype(value: Tensor) -> torch.dtype:
    """Half precision loses the sum over points; accumulate it in float32."""
    return torch.float64 if value.dtype == torch.float64 else torch.float32


def _read_levels(
    spatial_shapes: Tensor, level_start_index: Tensor, num_tokens: int
) -> list[tuple[int, int]]:
    """(height, width) of each level, which must fill the tokens one after the other.

    Raises:
        ValueError: they do not.
    """
    if torch.jit.is_tracing():
        # A number would be that of the traced image for ever.
        return [(height, width) for height, width in spatial_shapes]
    shapes = [(int(height), int(width)) for height, width in spatial_shapes]
    # In a graph that is being captured they are no numbers yet.
    if torch.compiler.is_compiling():
        return shapes
    sizes = [height * width for height, width in shapes]
    if min((side for shape in shapes for side in shape), default=0) < 0:
        raise ValueError(f"spatial_shapes {shapes} hold negative sizes")
    if sum(sizes) != num_tokens:
        raise ValueError(
            f"spatial_shapes {shapes} hold {sum(sizes)} tokens, but value has "
            f"{num_tokens}"
        )
    starts = [sum(sizes[:level]) for level in range(len(sizes))]
    if level_start_index.tolist() != starts:
        raise ValueError(
            f"level_start_index must be {starts} for spatial_shapes {shapes}, but got "
            f"{level_start_index.tolist()}"
        )
    return shapes


def _sample_levels(
    value: Tensor, shapes: list[tuple[int, int]], sampling_locations: Tensor
) -> Tensor:
    """Sample every level bilinearly, zeros outside, pixel centres at (i + 0.5) / W.

    Returns:
        Tensor: (batch * num_heads, head_dims, num_queries, num_levels * num_points).
    """
    batch, _, num_heads, head_dims = value.shape
    # What is no location, or becomes none by doubling, is outside of every map;
    # grid_sample would make NaN of it.
    grids = (2 * sampling_locations - 1).nan_to_num(nan=-5.0, posinf=-5.0, neginf=-5.0)
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


def _by_head(numbers: Tensor) -> Tensor:
    """Numbers of the samples as :func:`_sample_levels` has these.

    (batch, num_queries, num_heads, num_levels, num_points)
    -> (batch * num_heads, 1, num_queries, num_levels * num_points)
    """
    return numbers.permute(0, 2, 1, 3, 4).flatten(3).flatten(0, 1).unsqueeze(1)


def _attention_weights(
    query: Tensor, keys: Tensor, predicted_logits: Tensor | None
) -> Tensor:
    """Softmax of query · sampled keys / sqrt(head_dims) over the samples of a query.

    Args:
        query: (batch, num_queries, num_heads, head_dims).
        keys: what :func:`_sample_levels` returns.
        predicted_logits: (batch, num_queries, num_heads, num_levels, num_points), added
            before the softmax; None for nothing.

    Returns:
        Tensor: (batch * num_heads, 1, num_queries, num_levels * num_points).
    """
    # (batch, num_queries, num_heads, head_dims) -> (batch * num_heads, ..., 1)
    queries = query.permute(0, 2, 3, 1).flatten(0, 1).unsqueeze(-1)
    logits = (queries * keys).sum(1, keepdim=True) * query.shape[3] ** -0.5
    if predicted_logits is not None:
        logits = logits + _by_head(predicted_logits.to(logits.dtype))
    return logits.softmax(-1)


def _weighted_sum(values: Tensor, weights: Tensor, value: Tensor) -> Tensor:
    """Sum over the points and put the heads side by side: (batch, num_queries, ·)."""
    batch, _, num_heads, head_dims = value.shape
    output = (values * weights).sum(-1)
    output = output.view(batch, num_heads * head_dims, -1).transpose(1, 2)
    return output.contiguous().to(value.dtype)
