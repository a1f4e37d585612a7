"""What PyTorch is told about a fused operator: its results' shapes, its derivative.

With these ``torch.compile`` keeps the operator in its graph, autograd differentiates
it once, and asking for the second derivative is an error, not a silent zero.
"""

import warnings
from collections.abc import Callable
from typing import Any

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
        name, _fake_plain, _fake_plain_backward, differentiate, _save_inputs
    )


def register_key_aware_operator(name: str, fake: Callable, num_saved: int) -> None:
    """Complete ``mmdet_lite::<name>``, key-aware attention, and ``<name>_backward``.

    The backward operator takes the gradient of the output, what the forward one gave
    it besides, and all inputs (query, value, key, spatial_shapes, level_start_index,
    sampling_locations, predicted_logits). It returns the gradients of query, value,
    key, locations and predicted logits: no numbers for a key and for predicted logits
    that are None.

    Args:
        name: of the forward operator, without the namespace.
        fake: empty results of the forward operator.
        num_saved: how many of the forward operator's results, the last ones, the
            backward one takes.
    """
    backward = getattr(torch.ops.mmdet_lite, f"{name}_backward")

    def save(ctx, inputs: tuple, output: Tensor | tuple[Tensor, ...]) -> None:
        outputs = output if isinstance(output, tuple) else (output,)
        ctx.save_for_backward(*outputs[len(outputs) - num_saved :], *inputs)

    def differentiate(ctx, grad_output: Tensor, *_) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        _, _, key, _, _, _, predicted_logits = saved[num_saved:]
        grad_query, grad_value, grad_key, grad_locations, grad_logits = backward(
            grad_output, *saved
        )
        grad_key = None if key is None else grad_key
        grad_logits = None if predicted_logits is None else grad_logits
        return grad_query, grad_value, grad_key, None, None, grad_locations, grad_logits

    def fake_backward(grad_output: Tensor, *arguments: Any) -> tuple:
        query, value, key, _, _, locations, predicted_logits = arguments[num_saved:]
        return (
            query.new_empty(query.shape),
            value.new_empty(value.shape),
            empty_gradient(key, value),
            locations.new_empty(locations.shape),
            empty_gradient(predicted_logits, value),
        )

    register_operator(name, fake, fake_backward, differentiate, save)


def _refuse_double_backward(ctx, *grads: Tensor) -> None:
    raise RuntimeError(
        "the fused operators differentiate once; backend='reference' twice"
    )


def _save_inputs(ctx, inputs: tuple, output: Tensor) -> None:
    """Keep all inputs, which are tensors, for the derivative."""
    ctx.save_for_backward(*inputs)


def empty_output(query_like: Tensor, value: Tensor) -> Tensor:
    """An output: (batch, num_queries, num_heads * head_dims), the dtype of value.

    Args:
        query_like: a tensor that begins with (batch, num_queries).
        value: (batch, num_tokens, num_heads, head_dims).
    """
    return value.new_empty(*query_like.shape[:2], value.shape[2] * value.shape[3])


def empty_gradient(tensor: Tensor | None, value: Tensor) -> Tensor:
    """The gradient of an input that may be None, and then has no numbers.

    Args:
        tensor: the input.
        value: says where such a gradient is and which dtype it has.
    """
    return value.new_empty(0) if tensor is None else tensor.new_empty(tensor.shape)


def alert_not_deterministic(name: str) -> None:
    """Say that an operator adds in an order of its own, if the user wants to know.

    Args:
        name: of the operator, for the message.

    Raises:
        RuntimeError: ``torch.use_deterministic_algorithms(True)`` is set; with
            ``warn_only`` it is a warning.
    """
    if not torch.are_deterministic_algorithms_enabled():
        return
    message = (
        f"{name} does not have a deterministic implementation, but you set "
        "torch.use_deterministic_algorithms(True); backend='reference' runs on "
        "PyTorch's operators"
    )
    if not torch.is_deterministic_algorithms_warn_only_enabled():
        raise RuntimeError(message)
    warnings.warn(message, stacklevel=2)


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
