"""The attention operators from the CUDA kernels that mmcv ships: nothing to compile.

mmcv has one kernel forward and one backward, both of plain attention, here called as
``forward(value, weights)`` and ``backward(value, weights, grad)``. Key-aware attention
samples its keys by a forward call for each level, with a query for each point and
weights of 1, and multiplies them with the query. The sampled keys of one level are the
most that it holds at a time:

    logits = query · key / sqrt(D) + predicted logits
    weights = softmax(logits)
    output = forward(value, weights)

and, ``grad`` being the gradient of the output,

    grad_value, grad_weights = backward(value, weights, grad)
    grad_predicted_logits = softmax's derivative of grad_weights
    grad_products = grad_predicted_logits / sqrt(D)
    grad_query = forward(key, grad_products)
    grad_key = backward(key, grad_products, query).value

The gradient of the locations is the sum of those of both backward calls. Calls that no
needed gradient comes from are left out.

Half precision is cast to float32 for the kernels: in the dtype of the value they would
address the map and sum gradients, which float16 is too coarse for, and they know no
bfloat16. For float64 they round coordinates to float32 to find the pixel, and one just
below a map's size becomes a row outside of the tensor: refused. A sampling location
that is NaN or infinite counts as outside the map.
"""

import typing  # older versions of PyTorch know no other Sequence in a signature

import torch
from mmcv.ops import get_compiling_cuda_version
from mmcv.ops.multi_scale_deform_attn import ext_module
from torch import Tensor

from ..probe import fault_of
from ..registration import (
    alert_not_deterministic,
    empty_output,
    register_key_aware_operator,
    register_plain_operator,
)
from ..sizes import Sizes

# The kernels count the numbers of a tensor with 32 bits, going on in strides of up to
# two million; larger batches are split.
MAX_NUMBERS = 2**30

_CUDA_VERSION = get_compiling_cuda_version()


def why_not(
    device: torch.device, dtype: torch.dtype, sizes: Sizes | None = None
) -> str | None:
    """Why the kernels cannot serve such inputs, or None if they can."""
    if device.type != "cuda":
        return f"it runs on CUDA tensors, not on {device.type}"
    if _CUDA_VERSION == "not available":
        return "mmcv was built without its CUDA kernels"
    if dtype == torch.float64:
        return "mmcv's kernels may read outside of the map in torch.float64"
    if sizes is not None and _numbers_of_an_image(sizes) > MAX_NUMBERS:
        return (
            f"mmcv's kernels take up to {MAX_NUMBERS} numbers of a tensor for one "
            f"image, but got {_numbers_of_an_image(sizes)}"
        )
    return _fault(device)


def _numbers_of_an_image(sizes: Sizes) -> int:
    """Numbers of the largest tensor that the kernels take or give for one image."""
    return sizes.num_heads * max(
        sizes.num_tokens * sizes.head_dims,
        sizes.num_queries * sizes.num_levels * sizes.num_points * 2,
        # A level's sampled keys, or with no points the output.
        sizes.num_queries * max(1, sizes.num_points) * sizes.head_dims,
    )


@torch.compiler.assume_constant_result
def _fault(device: torch.device) -> str | None:
    """What is wrong with the kernels' results on a device, tried once.

    They print that a launch failed, as it does where mmcv was built for other GPUs,
    and go on with zeros.
    """
    return fault_of(
        key_aware_deformable_attention, multi_scale_deformable_attention, device
    )


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
    return torch.ops.mmdet_lite.key_aware_attention_mmcv(
        query,
        value,
        key,
        spatial_shapes,
        level_start_index,
        sampling_locations,
        predicted_logits,
    )[0]


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
    return torch.ops.mmdet_lite.plain_attention_mmcv(
        value, spatial_shapes, level_start_index, sampling_locations, attention_weights
    )


class _Sampling:
    """mmcv's two kernels for one set of levels and sampling locations.

    Tensors in and out have the dtype that the kernels compute in.
    """

    def __init__(
        self,
        value: Tensor,
        spatial_shapes: Tensor,
        level_start_index: Tensor,
        sampling_locations: Tensor,
    ) -> None:
        is_half = value.dtype in (torch.float16, torch.bfloat16)
        self.dtype = torch.float32 if is_half else value.dtype
        self.levels = [
            tensor.to(torch.int64).contiguous()
            for tensor in (spatial_shapes, level_start_index)
        ]
        self.locations = self.prepare(sampling_locations)
        self.batch_slices = _slices(value, sampling_locations)

    def prepare(self, tensor: Tensor) -> Tensor:
        """The tensor as the kernels take it."""
        return tensor.to(self.dtype).contiguous()

    def forward(self, value: Tensor, weights: Tensor) -> Tensor:
        """Weigh the sampled values: (batch, num_queries, num_heads * head_dims)."""
        parts = [
            ext_module.ms_deform_attn_forward(
                value[part],
                *self.levels,
                self.locations[part],
                weights[part],
                im2col_step=len(value[part]),
            )
            for part in self.batch_slices
        ]
        if not parts:
            return empty_output(self.locations, value).zero_()
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def products(self, query: Tensor, key: Tensor) -> Tensor:
        """query · key: (batch, num_queries, num_heads, num_levels, num_points)."""
        products = self.locations.new_empty(self.locations.shape[:-1])
        spatial_shapes, level_start_index = self.levels
        for level in range(len(spatial_shapes)):
            # (batch, num_queries, num_points, num_heads, 2)
            points = self.locations[:, :, :, level].transpose(2, 3)
            level_alone = _Sampling(
                key,
                spatial_shapes[level : level + 1],
                level_start_index[level : level + 1],
                points.flatten(1, 2)[:, :, :, None, None],
            )
            ones = torch.ones_like(level_alone.locations[..., 0])
            keys = level_alone.forward(key, ones).view(*points.shape[:-1], key.shape[3])
            # In place: they are the largest tensor of all.
            summed = keys.mul_(query[:, :, None]).sum(-1)
            products[:, :, :, level] = summed.transpose(2, 3)
        return products

    def backward(
        self, value: Tensor, weights: Tensor, grad: Tensor, grad_value: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Add the gradient of value to one; return those of locations and weights."""
        grad_locations = torch.zeros_like(self.locations)
        grad_weights = torch.zeros_like(weights)
        for part in self.batch_slices:
            ext_module.ms_deform_attn_backward(
                value[part],
                *self.levels,
                self.locations[part],
                weights[part],
                grad[part],
                grad_value[part],
                grad_locations[part],
                grad_weights[part],
                im2col_step=len(value[part]),
            )
        return grad_locations, grad_weights


def _slices(value: Tensor, sampling_locations: Tensor) -> list[slice]:
    """Parts of the batch for the kernels; none where there is nothing to compute."""
    sizes = Sizes.of(value, sampling_locations)
    if sampling_locations.numel() * sizes.head_dims == 0:
        return []  # an empty launch is an error that the kernels print
    step = max(1, MAX_NUMBERS // _numbers_of_an_image(sizes))
    return [slice(start, start + step) for start in range(0, sizes.batch, step)]


@torch.library.custom_op("mmdet_lite::key_aware_attention_mmcv", mutates_args=())
def _key_aware(
    query: Tensor,
    value: Tensor,
    key: Tensor | None,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    predicted_logits: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The output and, for the derivative, the attention weights."""
    sampling = _Sampling(value, spatial_shapes, level_start_index, sampling_locations)
    values = sampling.prepare(value)
    keys = values if key is None else sampling.prepare(key)
    products = sampling.products(sampling.prepare(query), keys)
    logits = products.flatten(3) * value.shape[3] ** -0.5
    if predicted_logits is not None:
        logits = logits + sampling.prepare(predicted_logits).flatten(3)
    weights = logits.softmax(-1).view(products.shape)
    return sampling.forward(values, weights).to(value.dtype), weights


@torch.library.custom_op(
    "mmdet_lite::key_aware_attention_mmcv_backward", mutates_args=()
)
def _key_aware_backward(
    grad_output: Tensor,
    weights: Tensor,
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
    alert_not_deterministic("key_aware_attention_mmcv_backward")
    needs_query, needs_value, needs_key, needs_locations, _ = needed
    sampling = _Sampling(value, spatial_shapes, level_start_index, sampling_locations)
    values = sampling.prepare(value)
    grad_value = torch.zeros_like(values)
    grad_locations, grad_weights = sampling.backward(
        values, weights, sampling.prepare(grad_output), grad_value
    )

    weighted = weights * grad_weights
    mean = weighted.sum((-2, -1), keepdim=True)
    grad_logits = weighted - weights * mean
    grad_products = grad_logits * value.shape[3] ** -0.5

    if key is None:
        keys, grad_key, adds_to_key = values, grad_value, needs_value
    else:
        keys, adds_to_key = sampling.prepare(key), needs_key
        grad_key = torch.zeros_like(keys)
    grad_query = query
    if needs_query:
        grad_query = sampling.forward(keys, grad_products).view(query.shape)
    if adds_to_key or needs_locations:
        grad_locations_by_key, _ = sampling.backward(
            keys, grad_products, sampling.prepare(query), grad_key
        )
        grad_locations += grad_locations_by_key
    grad_query, grad_value, grad_key, grad_locations, grad_logits = _needed_as_inputs(
        (grad_query, grad_value, grad_key, grad_locations, grad_logits),
        (query, value, key, sampling_locations, predicted_logits),
        needed,
        value,
    )
    return grad_query, grad_value, grad_key, grad_locations, grad_logits


def _needed_as_inputs(
    grads: tuple[Tensor, ...],
    inputs: tuple[Tensor | None, ...],
    needed: typing.Sequence[bool],
    value: Tensor,
) -> tuple[Tensor, ...]:
    """Gradients in the dtypes of the inputs; no numbers for those not needed."""
    return tuple(
        grad.to(tensor.dtype)
        if tensor is not None and is_needed
        else value.new_empty(0)
        for grad, tensor, is_needed in zip(grads, inputs, needed, strict=True)
    )


@torch.library.custom_op("mmdet_lite::plain_attention_mmcv", mutates_args=())
def _plain(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    sampling = _Sampling(value, spatial_shapes, level_start_index, sampling_locations)
    output = sampling.forward(
        sampling.prepare(value), sampling.prepare(attention_weights)
    )
    return output.to(value.dtype)


@torch.library.custom_op("mmdet_lite::plain_attention_mmcv_backward", mutates_args=())
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
    alert_not_deterministic("plain_attention_mmcv_backward")
    sampling = _Sampling(value, spatial_shapes, level_start_index, sampling_locations)
    values = sampling.prepare(value)
    grad_value = torch.zeros_like(values)
    grad_locations, grad_weights = sampling.backward(
        values,
        sampling.prepare(attention_weights),
        sampling.prepare(grad_output),
        grad_value,
    )
    grad_value, grad_locations, grad_weights = _needed_as_inputs(
        (grad_value, grad_locations, grad_weights),
        (value, sampling_locations, attention_weights),
        needed,
        value,
    )
    return grad_value, grad_locations, grad_weights


def _fake_key_aware(
    query, value, key, spatial_shapes, level_start_index, locations, predicted_logits
):
    is_half = value.dtype in (torch.float16, torch.bfloat16)
    dtype = torch.float32 if is_half else value.dtype
    return (
        empty_output(query, value),
        locations.new_empty(locations.shape[:-1], dtype=dtype),
    )


register_key_aware_operator("key_aware_attention_mmcv", _fake_key_aware, num_saved=1)
register_plain_operator("plain_attention_mmcv")
