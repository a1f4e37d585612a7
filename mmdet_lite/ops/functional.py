"""The two attention operators that the rest of the package calls."""

from torch import Tensor

from . import backends  # noqa: F401  (registers them)
from .contract import check_key_aware_inputs, check_plain_inputs
from .dispatch import select_backend
from .sizes import Sizes


def key_aware_deformable_attention(
    query: Tensor,
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    key: Tensor | None = None,
    predicted_logits: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """Key-aware deformable attention (Lite DETR, section 4.4).

    Samples keys and values at the same locations of every level and weighs the values
    by ``softmax(query · key / sqrt(head_dims))`` over all ``num_levels * num_points``
    samples of a query and head. A sample outside its map has key and value zero: its
    logit is 0 and it keeps its place in the softmax.

    Beyond the paper, logits that the query predicts by itself, as in plain deformable
    attention, can be added to these before the softmax.

    Args:
        query: (batch, num_queries, num_heads, head_dims), projected queries.
        value: (batch, num_tokens, num_heads, head_dims), projected values of all
            levels, flattened level by level; masked tokens are zero.
        spatial_shapes: (num_levels, 2), integer, (height, width) of each level.
        level_start_index: (num_levels,), integer, index of each level's first token.
        sampling_locations: (batch, num_queries, num_heads, num_levels, num_points, 2),
            (x, y), a level's width and height being 1; float32 or the dtype of value.
            NaN and infinity count as outside.
        key: the shape of value; None means that the key is the value.
        predicted_logits: (batch, num_queries, num_heads, num_levels, num_points),
            added to ``query · key / sqrt(head_dims)``; float32 or the dtype of value.
            They are all that the logit of a sample outside its map is. None adds
            nothing.
        backend: ``'auto'`` or the name of one of
            :func:`~mmdet_lite.ops.available_backends`.

    Returns:
        Tensor: (batch, num_queries, num_heads * head_dims), the dtype of value. Half
        precision is accumulated in float32.

    Raises:
        ValueError: a shape, level layout, device or backend name that does not fit.
            On a GPU the numbers in ``spatial_shapes`` and ``level_start_index`` are
            not checked: reading them would make every call wait for all before it.
        TypeError: a dtype that does not fit.
        BackendUnavailableError: the backend asked for cannot run here.
    """
    arguments = (
        query,
        value,
        spatial_shapes,
        level_start_index,
        sampling_locations,
        key,
        predicted_logits,
    )
    check_key_aware_inputs(*arguments)
    chosen = select_backend(
        backend, value.device, value.dtype, Sizes.of(value, sampling_locations)
    )
    return chosen.key_aware(*arguments)


def multi_scale_deformable_attention(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    backend: str = "auto",
) -> Tensor:
    """Plain multi-scale deformable attention (Deformable DETR, equation 3).

    Args:
        value: (batch, num_tokens, num_heads, head_dims).
        spatial_shapes: (num_levels, 2), integer, (height, width) of each level.
        level_start_index: (num_levels,), integer, index of each level's first token.
        sampling_locations: (batch, num_queries, num_heads, num_levels, num_points, 2),
            (x, y), a level's width and height being 1; float32 or the dtype of value.
            NaN and infinity count as outside.
        attention_weights: (batch, num_queries, num_heads, num_levels, num_points),
            float32 or the dtype of value.
        backend: ``'auto'`` or the name of one of
            :func:`~mmdet_lite.ops.available_backends`.

    Returns:
        Tensor: (batch, num_queries, num_heads * head_dims), the dtype of value. Half
        precision is accumulated in float32.

    Raises:
        ValueError: a shape, level layout, device or backend name that does not fit.
            On a GPU the numbers in ``spatial_shapes`` and ``level_start_index`` are
            not checked: reading them would make every call wait for all before it.
        TypeError: a dtype that does not fit.
        BackendUnavailableError: the backend asked for cannot run here.
    """
    check_plain_inputs(
        value, spatial_shapes, level_start_index, sampling_locations, attention_weights
    )
    chosen = select_backend(
        backend, value.device, value.dtype, Sizes.of(value, sampling_locations)
    )
    return chosen.plain(
        value, spatial_shapes, level_start_index, sampling_locations, attention_weights
    )
