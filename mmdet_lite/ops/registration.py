"""What PyTorch is told about a fused operator: its results' shapes, its derivative.

With these ``torch.compile`` keeps the operator in its graph, autograd differentiates
it once, and asking for the second derivative is an error, not a silent zero.
"""

import warnings
from collections.abc import Callable, Sequence
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


def register_plain_operator(name: str, takes_needed: bool = True) -> None:
    """Complete ``mmdet_lite::<name>``, plain attention, and ``<name>_backward``.

    The backward operator takes the gradient of the output and all inputs, and returns
    the gradients of value, locations and attention weights.

    Args:
        name: of the forward operator, without the namespace.
        takes_needed: whether the backward operator takes as its last argument, for
            each gradient, whether it is needed. One that is not has no numbers.
    """
    backward = getattr(torch.ops.mmdet_lite, f"{name}_backward")

    def differentiate(ctx, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        needed = [ctx.needs_input_grad[index] for index in (0, 3, 4)]
        grads = backward(
            grad_output, *ctx.saved_tensors, *([needed] if takes_needed else [])
        )
        grad_value, grad_locations, grad_weights = _only_needed(grads, needed)
        return grad_value, None, None, grad_locations, grad_weights

    register_operator(
        name, _fake_plain, _fake_plain_backward, differentiate, _save_inputs
    )


def register_key_aware_operator(
    name: str, fake: Callable, num_saved: int, takes_needed: bool = True
) -> None:
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
        takes_needed: see :func:`register_plain_operator`.
    """
    backward = getattr(torch.ops.mmdet_lite, f"{name}_backward")

    def save(ctx, inputs: tuple, output: Tensor | tuple[Tensor, ...]) -> None:
        # For what is kept there would be a gradient of zeros at every call.
        ctx.set_materialize_grads(False)
        outputs = output if isinstance(output, tuple) else (output,)
        ctx.save_for_backward(*outputs[len(outputs) - num_saved :], *inputs)

    def differentiate(ctx, grad_output: Tensor | None, *_) -> tuple[Tensor | None, ...]:
        if grad_output is None:
            return (None,) * 7
        needed = [ctx.needs_input_grad[index] for index in (0, 1, 2, 5, 6)]
        grads = backward(
            grad_output, *ctx.saved_tensors, *([needed] if takes_needed else [])
        )
        *grad_rows, grad_locations, grad_logits = _only_needed(grads, needed)
        return *grad_rows, None, None, grad_locations, grad_logits

    def fake_backward(grad_output: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
        query, value, key, _, _, locations, logits, *rest = arguments[num_saved:]
        inputs = query, value, key, locations, logits
        needed = rest[0] if takes_needed else [each is not None for each in inputs]
        return empty_gradients(inputs, needed, value)

    register_operator(name, fake, fake_backward, differentiate, save)


def _only_needed(
    grads: Sequence[Tensor], needed: Sequence[bool]
) -> list[Tensor | None]:
    """The gradients, with None for those that autograd does not ask for."""
    return [
        grad if is_needed else None
        for grad, is_needed in zip(grads, needed, strict=True)
    ]


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


def empty_gradients(
    inputs: Sequence[Tensor | None], needed: Sequence[bool], value: Tensor
) -> tuple[Tensor, ...]:
    """A gradient for each input: its shape and dtype, or no numbers.

    Args:
        inputs: None only where none is needed.
        needed: whether the gradient of each input is.
        value: says where gradients that are not needed are and which dtype they have.
    """
    return tuple(
        tensor.new_empty(tensor.shape)
        if tensor is not None and is_needed
        else value.new_empty(0)
        for tensor, is_needed in zip(inputs, needed, strict=True)
    )


def asks_for_gradients(*tensors: Tensor | None) -> bool:
    """Whether autograd records what is computed from these tensors."""
    return torch.is_grad_enabled() and any(
        tensor is not None and tensor.requires_grad for tensor in tensors
    )


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
        "torch.use_deterministic_algorithms(True); no backend has one on a GPU, and "
        "warn_only=True makes this a warning"
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
    needed: Sequence[bool] = (True, True, True),
) -> tuple[Tensor, ...]:
    """Gradients of value, locations and attention weights."""
    inputs = value, sampling_locations, attention_weights
    return empty_gradients(inputs, needed, value)
