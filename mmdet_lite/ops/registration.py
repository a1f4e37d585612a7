"""What PyTorch is told about a fused operator: its results' shapes, its derivative.

With these ``torch.compile`` keeps the operator in its graph, autograd differentiates
it once, and asking for the second derivative is an error, not a silent zero.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def register_operator(
    name: str,
    fake: Callable,
    fake_backward: Callable,
    backward: Callable,
    setup_context: Callable,
) -> None:
    """Complete the operators ``mmdet_lite::<name>`` and ``<name>_backward``.

    Args:
        name: of the forward operator, without the namespace.
        fake: empty results of the forward operator.
        fake_backward: empty results of the backward operator.
        backward: the forward operator's derivative, as for ``register_autograd``.
        setup_context: what the derivative keeps, as for ``register_autograd``.
    """
    operator = f"mmdet_lite::{name}"
    torch.library.register_fake(operator, fake)
    torch.library.register_autograd(operator, backward, setup_context=setup_context)
    torch.library.register_fake(f"{operator}_backward", fake_backward)
    # Without a derivative of its own the second one would be silently zero.
    torch.library.register_autograd(f"{operator}_backward", _refuse_double_backward)


def register_plain_operator(name: str) -> None:
    """Complete ``mmdet_lite::<name>``, plain attention, and ``<name>_backward``.

    The backward operator takes the gradient of the output and all inputs, and returns
    the gradients of value, locations and attention weights.
    """
    backward = getattr(torch.ops.mmdet_lite, f"{name}_backward")

    def differentiate(ctx, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        grad_value, grad_locations, grad_weights = backward(
            grad_output, *ctx.saved_tensors
        )
        return grad_value, None, None, grad_locations, grad_weights

    register_operator(
        name, _fake_plain, _fake_plain_backward, differentiate, save_inputs
    )


def _refuse_double_backward(ctx, *grads: Tensor) -> None:
    raise RuntimeError(
        "the fused operators differentiate once; backend='reference' twice"
    )


def save_inputs(ctx, inputs: tuple, output: Tensor) -> None:
    """Keep all inputs, which are tensors, for the derivative."""
    ctx.save_for_backward(*inputs)


def empty_output(query_like: Tensor, value: Tensor) -> Tensor:
    """An output: (batch, num_queries, num_heads * head_dims), the dtype of value.

    Args:
        query_like: a tensor that begins with (batch, num_queries).
        value: (batch, num_tokens, num_heads, head_dims).
    """
    return value.new_empty(*query_like.shape[:2], value.shape[2] * value.shape[3])


def empty_key_aware_grads(
    query: Tensor, value: Tensor, key: Tensor | None, sampling_locations: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of query, value, key (no numbers without one) and locations."""
    return (
        query.new_empty(query.shape),
        value.new_empty(value.shape),
        value.new_empty(0) if key is None else key.new_empty(key.shape),
        sampling_locations.new_empty(sampling_locations.shape),
    )


def _fake_plain(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    """An output of plain attention."""
    return empty_output(sampling_locations, value)


def _fake_plain_backward(
    grad_output: Tensor,
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of value, locations and attention weights."""
    return (
        value.new_empty(value.shape),
        sampling_locations.new_empty(sampling_locations.shape),
        attention_weights.new_empty(attention_weights.shape),
    )
