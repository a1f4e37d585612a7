"""What the attention operators accept: shapes, dtypes and devices.

Every backend receives inputs that have passed these checks, so that a user reads which
argument is wrong. What the numbers in ``spatial_shapes`` and ``level_start_index`` say
is checked by the backends that read them: where a graph is captured, and on a GPU,
nothing may be read here.
"""

import torch
from torch import Tensor

FLOATING_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_key_aware_inputs(
    query: Tensor,
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    key: Tensor | None,
    predicted_logits: Tensor | None,
) -> None:
    """Refuse arguments that break the contract of key-aware attention.

    Raises:
        ValueError: a shape, a level layout or a device that does not fit.
        TypeError: a dtype that does not fit.
    """
    _check_value(value, "value")
    if key is not None:
        _check_same_shape(key, "key", value, "value")
        _check_dtype_and_device(key, "key", value)
    _check_sampling_locations(sampling_locations, value)
    _check_levels(spatial_shapes, level_start_index, sampling_locations, value)
    expected = (*sampling_locations.shape[:2], *value.shape[2:])
    if tuple(query.shape) != expected:
        raise ValueError(
            "query must have shape (batch, num_queries, num_heads, head_dims) = "
            f"{expected} to fit sampling_locations and value, "
            f"but got {tuple(query.shape)}"
        )
    _check_dtype_and_device(query, "query", value)
    if predicted_logits is not None:
        _check_of_samples(
            predicted_logits, "predicted_logits", sampling_locations, value
        )


def check_plain_inputs(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> None:
    """Refuse arguments that break the contract of plain deformable attention.

    Raises:
        ValueError: a shape, a level layout or a device that does not fit.
        TypeError: a dtype that does not fit.
    """
    _check_value(value, "value")
    _check_sampling_locations(sampling_locations, value)
    _check_levels(spatial_shapes, level_start_index, sampling_locations, value)
    _check_of_samples(attention_weights, "attention_weights", sampling_locations, value)


def _check_value(value: Tensor, name: str) -> None:
    if value.dim() != 4:
        raise ValueError(
            f"{name} must have shape (batch, num_tokens, num_heads, head_dims), "
            f"but got {tuple(value.shape)}"
        )
    if value.shape[3] == 0:
        raise ValueError(
            f"head_dims, the last dimension of {name}, must not be 0, but got shape "
            f"{tuple(value.shape)}"
        )
    if value.dtype not in FLOATING_DTYPES:
        raise TypeError(f"{name} must be a floating tensor, but got {value.dtype}")


def _check_sampling_locations(sampling_locations: Tensor, value: Tensor) -> None:
    shape = tuple(sampling_locations.shape)
    if len(shape) != 6 or shape[-1] != 2:
        raise ValueError(
            "sampling_locations must have shape (batch, num_queries, num_heads, "
            f"num_levels, num_points, 2), but got {shape}"
        )
    if shape[0] != value.shape[0] or shape[2] != value.shape[2]:
        raise ValueError(
            f"sampling_locations must have the batch ({value.shape[0]}) and the "
            f"num_heads ({value.shape[2]}) of value, but got shape {shape}"
        )
    _check_float32_or_as_value(sampling_locations, "sampling_locations", value)


def _check_of_samples(
    tensor: Tensor, name: str, sampling_locations: Tensor, value: Tensor
) -> None:
    """Refuse what is not a number for each sample."""
    expected = tuple(sampling_locations.shape[:-1])
    if tuple(tensor.shape) != expected:
        raise ValueError(
            f"{name} must have the shape of sampling_locations without its last "
            f"dimension, {expected}, but got {tuple(tensor.shape)}"
        )
    _check_float32_or_as_value(tensor, name, value)


def _check_float32_or_as_value(tensor: Tensor, name: str, value: Tensor) -> None:
    if tensor.dtype not in (value.dtype, torch.float32):
        raise TypeError(
            f"{name} must be torch.float32 or {value.dtype} as value is, but got "
            f"{tensor.dtype}"
        )
    _check_device(tensor, name, value)


def _check_levels(
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    value: Tensor,
) -> None:
    num_levels = sampling_locations.shape[3]
    for name, tensor, expected in (
        ("spatial_shapes", spatial_shapes, (num_levels, 2)),
        ("level_start_index", level_start_index, (num_levels,)),
    ):
        if tuple(tensor.shape) != expected:
            raise ValueError(
                f"{name} must have shape {expected} for the {num_levels} levels of "
                f"sampling_locations, but got {tuple(tensor.shape)}"
            )
        if tensor.dtype not in (torch.int64, torch.int32):
            raise TypeError(f"{name} must be an integer tensor, but got {tensor.dtype}")
        _check_device(tensor, name, value)


def _check_same_shape(
    tensor: Tensor, name: str, other: Tensor, other_name: str
) -> None:
    if tensor.shape != other.shape:
        raise ValueError(
            f"{name} must have the shape of {other_name}, {tuple(other.shape)}, "
            f"but got {tuple(tensor.shape)}"
        )


def _check_dtype_and_device(tensor: Tensor, name: str, value: Tensor) -> None:
    if tensor.dtype != value.dtype:
        raise TypeError(
            f"{name} must be {value.dtype} as value is, but got {tensor.dtype}"
        )
    _check_device(tensor, name, value)


def _check_device(tensor: Tensor, name: str, value: Tensor) -> None:
    if tensor.device != value.device:
        raise ValueError(
            f"{name} must be on {value.device} as value is, but is on {tensor.device}"
        )
