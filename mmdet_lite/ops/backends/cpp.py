"""The attention operators as fused C++ kernels for the CPU.

Each operator is one kernel forward and two backward: nothing of the size of the sampled
values is stored, and only the inputs are kept for the backward pass. Half precision is
accumulated in float32. Results and gradients are bit-identical from run to run and for
any number of threads. A sampling location that is NaN or infinite counts as outside the
map.

The kernels are in ``csrc`` and are built while the package is installed, where PyTorch
and a compiler are present, or by ``python -m mmdet_lite.ops build``; :func:`why_not`
says why they are missing.
"""

import importlib.util

import torch
from torch import Tensor

from ..registration import (
    empty_output,
    register_key_aware_operator,
    register_plain_operator,
)
from ..sizes import Sizes

# The kernels number the tokens of an image with 32 bits.
MAX_TOKENS = 2**31 - 2


def _load_library() -> str | None:
    """Load the kernels; returns why that failed, or None."""
    spec = importlib.util.find_spec(f"{__package__.rpartition('.')[0]}._cpu")
    build = "python -m mmdet_lite.ops build"
    if spec is None or spec.origin is None:
        return f"its kernels were not built: {build}"
    # The library beside an exported package has them as well, and PyTorch ends the
    # process where they come twice.
    if not hasattr(torch.ops.mmdet_lite, "key_aware_attention_cpu"):
        try:
            torch.ops.load_library(spec.origin)
        except OSError as error:
            return f"its kernels do not fit this PyTorch: {build} ({error})"
    schema = torch.ops.mmdet_lite.key_aware_attention_cpu.default._schema
    if schema.arguments[-1].name != "predicted_logits":
        return f"its kernels are those of an older version: {build}"
    return None


_LOAD_FAILURE = _load_library()


def why_not(
    device: torch.device, dtype: torch.dtype, sizes: Sizes | None = None
) -> str | None:
    """Why the kernels cannot serve such inputs, or None if they can."""
    if device.type != "cpu":
        return f"it runs on CPU tensors, not on {device.type}"
    if sizes is not None and sizes.num_tokens > MAX_TOKENS:
        return f"it takes up to {MAX_TOKENS} tokens, not {sizes.num_tokens}"
    return _LOAD_FAILURE


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
    return torch.ops.mmdet_lite.key_aware_attention_cpu(
        query,
        value,
        key,
        spatial_shapes,
        level_start_index,
        sampling_locations,
        predicted_logits,
    )


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
    return torch.ops.mmdet_lite.plain_attention_cpu(
        value, spatial_shapes, level_start_index, sampling_locations, attention_weights
    )


def _fake_key_aware(
    query, value, key, spatial_shapes, level_start_index, locations, predicted_logits
):
    return empty_output(query, value)


if _LOAD_FAILURE is None:
    register_key_aware_operator(
        "key_aware_attention_cpu", _fake_key_aware, num_saved=0, takes_needed=False
    )
    register_plain_operator("plain_attention_cpu", takes_needed=False)
