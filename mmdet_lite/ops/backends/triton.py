"""The attention operators as fused Triton kernels for CUDA GPUs.

Each operator is one kernel forward and one backward, compiled when it is first called:
nothing of the size of the sampled values is stored. All is computed in float32, and the
gradients of value and key, to which many queries add, are summed in it. The sums' order
changes from run to run, and with it the last bits. A sampling location that is NaN or
infinite counts as outside the map.

Triton comes with PyTorch's builds for CUDA and is imported by the first call. With
``TRITON_INTERPRET=1`` in the environment it runs the kernels on CPU tensors, slowly and
for tests; ``'auto'`` does not take that for an offer.
"""

import importlib.util
import os
import typing  # older versions of PyTorch know no other Sequence in a signature

import torch
from torch import Tensor

from ..probe import fault_of
from ..registration import (
    alert_not_deterministic,
    asks_for_gradients,
    empty_gradients,
    empty_output,
    register_key_aware_operator,
    register_plain_operator,
)
from ..sizes import Sizes

# Rows times padded head dimensions of a program, which is one warp: the fastest on an
# H200 of those that leave the compiler registers enough
# (.dev_scripts/gpu_tuning.py).
FORWARD_BLOCK_NUMBERS = 256
BACKWARD_BLOCK_NUMBERS = 256

# The kernels number rows, and the numbers of an image's value, with 32 bits.
MAX_NUMBERS = 2**31 - 2**16

_TRITON_IS_MISSING = importlib.util.find_spec("triton") is None
_IS_INTERPRETED = os.environ.get("TRITON_INTERPRET", "") == "1"


def why_not(
    device: torch.device, dtype: torch.dtype, sizes: Sizes | None = None
) -> str | None:
    """Why the kernels cannot serve such inputs, or None if they can."""
    if device.type != "cuda" and not (device.type == "cpu" and _IS_INTERPRETED):
        return f"it runs on CUDA tensors, not on {device.type}"
    if _TRITON_IS_MISSING:
        return "Triton is not installed"
    if dtype == torch.float64:
        return "it computes in float32, too coarse for torch.float64"
    if sizes is not None and _largest_number(sizes) >= MAX_NUMBERS:
        return (
            f"its kernels take less than {MAX_NUMBERS} rows (batch, num_queries and "
            "num_heads multiplied) and numbers of one image's value, but got "
            f"{_largest_number(sizes)}"
        )
    if device.type != "cuda":
        return None
    if _compute_capability(device) < (8, 0):
        return "Triton needs a GPU of compute capability 8.0 (Ampere) or newer"
    return _fault(device)


def _largest_number(sizes: Sizes) -> int:
    return max(
        sizes.batch * sizes.num_queries * sizes.num_heads,
        sizes.num_tokens * sizes.num_heads * sizes.head_dims,
    )


@torch.compiler.assume_constant_result
def _fault(device: torch.device) -> str | None:
    """What is wrong with the kernels' results on a device, tried once."""
    return fault_of(
        key_aware_deformable_attention, multi_scale_deformable_attention, device
    )


@torch.compiler.assume_constant_result
def _compute_capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


def key_aware_deformable_attention(
    query: Tensor,
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    key: Tensor | None,
    predicted_logits: Tensor | None,
) -> Tensor:
    """Args and result as in :func:`mmdet_lite.ops.key_aware_deformable_attention`.

    Differentiates once; the second derivative raises RuntimeError.
    """
    if key is value:
        key = None
    arguments = (
        query,
        value,
        key,
        spatial_shapes,
        level_start_index,
        sampling_locations,
        predicted_logits,
    )
    if not asks_for_gradients(query, value, key, sampling_locations, predicted_logits):
        return torch.ops.mmdet_lite.key_aware_attention_triton_inference(*arguments)
    return torch.ops.mmdet_lite.key_aware_attention_triton(*arguments)[0]


def multi_scale_deformable_attention(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    """Args and result as in :func:`mmdet_lite.ops.multi_scale_deformable_attention`.

    Differentiates once; the second derivative raises RuntimeError.
    """
    return torch.ops.mmdet_lite.plain_attention_triton(
        value, spatial_shapes, level_start_index, sampling_locations, attention_weights
    )


def _launch(
    kernel: str,
    block_numbers: int,
    inputs: tuple[Tensor, ...],
    results: tuple[Tensor, ...],
    value: Tensor,
    sampling_locations: Tensor,
    **options: bool,
) -> None:
    """Run a kernel, or write zeros where there is nothing to compute.

    Args:
        kernel: its name in ``triton_kernels``.
        block_numbers: rows times padded head dimensions of a program.
        inputs: what the kernel reads, in its order.
        results: what the kernel writes, in its order, contiguous.
        value: read for its shape, as are sampling_locations.
        sampling_locations: see value.
        options: the kernel's own compile-time arguments.
    """
    import triton

    from . import triton_kernels

    _, num_tokens, num_heads, head_dims = value.shape
    batch, num_queries, _, num_levels, num_points, _ = sampling_locations.shape
    num_rows = batch * num_queries * num_heads
    if sampling_locations.numel() * head_dims == 0:
        for result in results:
            result.zero_()
        return
    dims = triton.next_power_of_2(head_dims)
    block = max(1, block_numbers // dims)
    # Triton launches on the current device, whichever the tensors are on.
    with torch.cuda.device_of(value):
        getattr(triton_kernels, kernel)[(triton.cdiv(num_rows, block),)](
            *(tensor.contiguous() for tensor in inputs),
            *results,
            num_rows,
            num_queries,
            num_tokens,
            **options,
            num_heads=num_heads,
            head_dims=head_dims,
            num_levels=num_levels,
            num_points=num_points,
            block=block,
            dims=dims,
            num_warps=1,
        )


@torch.library.custom_op(
    "mmdet_lite::key_aware_attention_triton_inference", mutates_args=()
)
def _key_aware_inference(
    query: Tensor,
    value: Tensor,
    key: Tensor | None,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    predicted_logits: Tensor | None,
) -> Tensor:
    """The output in the dtype of value, and nothing for a derivative."""
    output = empty_output(query, value)
    _launch_key_aware_forward(
        query,
        value,
        key,
        spatial_shapes,
        level_start_index,
        sampling_locations,
        predicted_logits,
        results=(output, output.new_empty(0), output.new_empty(0)),
        for_gradients=False,
    )
    return output


@torch.library.custom_op("mmdet_lite::key_aware_attention_triton", mutates_args=())
def _key_aware(
    query: Tensor,
    value: Tensor,
    key: Tensor | None,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    predicted_logits: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The output and, for the derivative, itself in float32 and the logits' log-sum.

    From an output rounded to half precision, the gradients of query and locations
    would lose three digits. One that is not rounded is not written twice.
    """
    arguments = (
        query,
        value,
        key,
        spatial_shapes,
        level_start_index,
        sampling_locations,
        predicted_logits,
    )
    results = _fake_key_aware(*arguments)
    _launch_key_aware_forward(*arguments, results=results, for_gradients=True)
    return results


def _launch_key_aware_forward(
    query: Tensor,
    value: Tensor,
    key: Tensor | None,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    predicted_logits: Tensor | None,
    results: tuple[Tensor, Tensor, Tensor],
    for_gradients: bool,
) -> None:
    _launch(
        "key_aware_forward",
        FORWARD_BLOCK_NUMBERS,
        (
            query,
            value if key is None else key,
            value,
            spatial_shapes,
            level_start_index,
            sampling_locations,
            # What is not read still needs an address.
            value if predicted_logits is None else predicted_logits,
        ),
        results,
        value,
        sampling_locations,
        key_is_value=key is None,
        logits_are_predicted=predicted_logits is not None,
        output_is_rounded=value.dtype != torch.float32,
        for_gradients=for_gradients,
    )


@torch.library.custom_op(
    "mmdet_lite::key_aware_attention_triton_backward", mutates_args=()
)
def _key_aware_backward(
    grad_output: Tensor,
    output: Tensor,
    exact_output: Tensor,
    log_sum: Tensor,
    query: Tensor,
    value: Tensor,
    key: Tensor | None,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    predicted_logits: Tensor | None,
    needed: typing.Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of query, value, key, locations and predicted logits.

    No numbers for those that are not needed.
    """
    needs_query, needs_value, needs_key, needs_locations, needs_logits = needed
    # Only what tokens get is added up by several queries.
    if needs_value or needs_key:
        alert_not_deterministic("key_aware_attention_triton_backward")
    grad_query, grad_locations, grad_logits = empty_gradients(
        (query, sampling_locations, predicted_logits),
        (needs_query, needs_locations, needs_logits),
        value,
    )
    grad_value = _zeros(value, needs_value)
    grad_key = _zeros(value, needs_key)
    holds_more = key is not None or predicted_logits is not None
    _launch(
        "key_aware_backward",
        BACKWARD_BLOCK_NUMBERS // 2 if holds_more else BACKWARD_BLOCK_NUMBERS,
        (
            grad_output,
            output if output.dtype == torch.float32 else exact_output,
            log_sum,
            query,
            value if key is None else key,
            value,
            spatial_shapes,
            level_start_index,
            sampling_locations,
            value if predicted_logits is None else predicted_logits,
        ),
        (grad_query, grad_key, grad_value, grad_locations, grad_logits),
        value,
        sampling_locations,
        key_is_value=key is None,
        logits_are_predicted=predicted_logits is not None,
        needs_query=needs_query,
        needs_key=needs_key,
        needs_value=needs_value,
        needs_locations=needs_locations,
        needs_logits=needs_logits,
    )
    return (
        grad_query,
        grad_value.to(value.dtype),
        grad_key.to(value.dtype),
        grad_locations,
        grad_logits,
    )


@torch.library.custom_op("mmdet_lite::plain_attention_triton", mutates_args=())
def _plain(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    output = empty_output(sampling_locations, value)
    inputs = (value, spatial_shapes, level_start_index, sampling_locations)
    _launch(
        "plain_forward",
        FORWARD_BLOCK_NUMBERS,
        (*inputs, attention_weights),
        (output,),
        value,
        sampling_locations,
    )
    return output


@torch.library.custom_op("mmdet_lite::plain_attention_triton_backward", mutates_args=())
def _plain_backward(
    grad_output: Tensor,
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    needed: typing.Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of value, locations and attention weights.

    No numbers for those that are not needed.
    """
    needs_value, needs_locations, needs_weights = needed
    if needs_value:
        alert_not_deterministic("plain_attention_triton_backward")
    grad_value = _zeros(value, needs_value)
    grad_locations, grad_weights = empty_gradients(
        (sampling_locations, attention_weights),
        (needs_locations, needs_weights),
        value,
    )
    inputs = (value, spatial_shapes, level_start_index, sampling_locations)
    _launch(
        "plain_backward",
        BACKWARD_BLOCK_NUMBERS,
        (grad_output, *inputs, attention_weights),
        (grad_value, grad_locations, grad_weights),
        value,
        sampling_locations,
        needs_value=needs_value,
        needs_locations=needs_locations,
        needs_weights=needs_weights,
    )
    return grad_value.to(value.dtype), grad_locations, grad_weights


def _zeros(value: Tensor, are_needed: bool) -> Tensor:
    """What the gradient of value, or of key, is summed in; no numbers if not needed."""
    return value.new_zeros(value.shape if are_needed else 0, dtype=torch.float32)


def _fake_key_aware(
    query, value, key, spatial_shapes, level_start_index, locations, predicted_logits
):
    batch, num_queries, num_heads, _ = query.shape
    output = empty_output(query, value)
    exact_shape = 0 if output.dtype == torch.float32 else output.shape
    return (
        output,
        output.new_empty(exact_shape, dtype=torch.float32),
        output.new_empty(batch, num_heads, num_queries, dtype=torch.float32),
    )


@_key_aware_inference.register_fake
def _fake_key_aware_inference(query, value, *_):
    return empty_output(query, value)


register_key_aware_operator("key_aware_attention_triton", _fake_key_aware, num_saved=3)
register_plain_operator("plain_attention_triton")
