"""The attention operators as a counter of FLOPs sees them: one name, one rule.

A trace shows a fused operator as a node of its own, the reference as ``grid_sample``
and products, and mmcv's CUDA operator as a Python function; counted node by node, one
model would give another number on every backend. While :func:`counted_operators` is
entered, all of them but mmcv's CUDA function appear as the two operators below, which
compute nothing; :data:`ATTENTION_HANDLES` counts these and mmcv's function alike.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import prod

import torch
from mmengine.analysis.jit_handles import Handle, get_shape
from torch import Tensor

from ..ops.accelerate import mmcv_operator
from ..ops.dispatch import Backend, force_backend

SAMPLING = "deformable_sampling"
"""Name under which bilinear samples are counted."""
KEY_AWARE_PRODUCTS = "key_aware_products"
"""Name under which KDA's products with the samples are counted."""


@contextmanager
def counted_operators() -> Iterator[None]:
    """Let every attention operator that is called run as one that is counted.

    Outputs are zeros of the right shape, so that a traced model costs no sampling.
    """
    backend = Backend(
        name="counted",
        key_aware=_key_aware_attention,
        plain=_plain_attention,
        why_not=lambda device, dtype, sizes: None,
    )
    with ExitStack() as stack:
        stack.enter_context(force_backend(backend))
        # mmcv's modules then call this package's operator too.
        stack.enter_context(mmcv_operator(fast=True))
        yield


# Every tensor of a call is an input here: what leads to no output, the trace drops.
# No size is read in Python: the trace would note it inside of the operator.
@torch.library.custom_op("mmdet_lite::counted_key_aware_attention", mutates_args=())
def _key_aware_attention(
    query: Tensor,
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    key: Tensor | None,
    predicted_logits: Tensor | None,
) -> Tensor:
    return torch.zeros_like(query, dtype=value.dtype).flatten(2)


@torch.library.custom_op("mmdet_lite::counted_plain_attention", mutates_args=())
def _plain_attention(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    # (batch, num_queries, num_heads, 1) times (batch, 1, num_heads, head_dims)
    per_head = sampling_locations[..., 0, 0, :1].to(value.dtype)
    return (per_head * value[:, :1]).zero_().flatten(2)


def _num_sampled(value, sampling_locations) -> int:
    """Numbers that one gather makes: samples of all queries and heads · head_dims."""
    return prod(get_shape(sampling_locations)[:-1]) * get_shape(value)[-1]


def _count_plain(inputs: list, outputs: list) -> Counter:
    value, _, _, sampling_locations, _ = inputs
    # The sum over the samples is elementwise in mmcv's definition: free.
    return Counter({SAMPLING: 4 * _num_sampled(value, sampling_locations)})


def _count_key_aware(inputs: list, outputs: list) -> Counter:
    _, value, _, _, sampling_locations, _, _ = inputs
    num_sampled = _num_sampled(value, sampling_locations)
    # Keys and values are two gathers in the paper's code, even where they are equal
    # and the operator gathers once; then query · key and weights · value.
    return Counter({SAMPLING: 2 * 4 * num_sampled, KEY_AWARE_PRODUCTS: 2 * num_sampled})


ATTENTION_HANDLES: dict[str, Handle] = {
    "mmdet_lite::counted_plain_attention": _count_plain,
    "mmdet_lite::counted_key_aware_attention": _count_key_aware,
}
"""Handles for ``mmengine.analysis.FlopAnalyzer.set_op_handle``."""
