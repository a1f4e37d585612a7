"""The products of a run, alone: the time that no code around them can save."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

_MATMULS = {
    torch.ops.aten.mm.default: (0, 1),
    torch.ops.aten.bmm.default: (0, 1),
    torch.ops.aten.addmm.default: (1, 2),
    torch.ops.aten.baddbmm.default: (1, 2),
    torch.ops.aten.linear.default: (0, 1),
}
_CONVOLUTION = torch.ops.aten.convolution.default
_CONVOLUTION_BACKWARD = torch.ops.aten.convolution_backward.default
_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_ATTENTION_BACKWARD = (
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default
)

_Layout = tuple
"""Shape, strides (None for oneDNN's weights), dtype and device of an operand."""


class _ProductRecorder(TorchDispatchMode):
    """Notes every product with its operands' shapes, strides and dtypes."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple] = []
        self.multiplies = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in _MATMULS:
            left, right = (args[index] for index in _MATMULS[func])
            if func is torch.ops.aten.linear.default:
                left, right = left.flatten(0, -2), right.t()
            self._note_matmul(_layout(left), _layout(right))
        elif func is torch.ops.mkldnn._linear_pointwise.default:
            left, packed = args[0].flatten(0, -2), args[1]
            self._note_matmul(_layout(left), _packed_layout(packed))
        result = func(*args, **(kwargs or {}))
        if func in _OTHERS:
            self.multiplies += _OTHERS[func](args, result)
            self.calls.append((func, *map(_described, (args, kwargs or {}))))
        return result

    def _note_matmul(self, left: _Layout, right: _Layout) -> None:
        self.multiplies += math.prod(left[0]) * right[0][-1]
        self.calls.append((None, left, right))


def _multiplies_of_convolution(args: tuple, result: Tensor) -> int:
    weight, is_transposed = args[1], args[6]
    # Each weight meets every position of the map that has its second channels.
    positions = args[0] if is_transposed else result
    return positions.shape[0] * math.prod(positions.shape[2:]) * weight.numel()


def _multiplies_of_convolution_backward(args: tuple, result: tuple) -> int:
    grad, features, weight = args[:3]
    forward = (features, weight, None, *args[4:])
    needed = sum(args[-1][:2])
    return needed * _multiplies_of_convolution(forward, grad)


def _multiplies_of_attention(args: tuple, result: tuple) -> int:
    query, key = args[:2]
    return 2 * query.numel() * key.shape[2]


def _multiplies_of_attention_backward(args: tuple, result: tuple) -> int:
    # The scores once more, and the gradients of weights, value, query and key.
    _, query, key = args[:3]
    return 5 * query.numel() * key.shape[2]


_OTHERS: dict[Any, Callable[[tuple, Any], int]] = {
    _CONVOLUTION: _multiplies_of_convolution,
    _CONVOLUTION_BACKWARD: _multiplies_of_convolution_backward,
    _ATTENTION: _multiplies_of_attention,
    _ATTENTION_BACKWARD: _multiplies_of_attention_backward,
}
"""Products that are no matrix multiplications, with their multiply-accumulates."""


class _Operand:
    """Stands for a tensor among the arguments of a call."""

    def __init__(self, layout: _Layout) -> None:
        self.layout = layout


def _described(arguments: Any) -> Any:
    return tree_map(
        lambda each: _Operand(_layout(each)) if isinstance(each, Tensor) else each,
        arguments,
    )


def _layout(tensor: Tensor) -> _Layout:
    return tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device


def _packed_layout(weight: Tensor) -> _Layout:
    """Of oneDNN's weights, (out, in), in an order that has no strides."""
    return tuple(weight.shape[::-1]), None, weight.dtype, weight.device


def _random_operand(layout: _Layout) -> Tensor:
    shape, stride, dtype, device = layout
    if stride is None:
        weight = torch.randn(shape[::-1], dtype=dtype, device=device)
        return torch.ops.mkldnn._reorder_linear_weight(weight)
    # Of an expanded tensor several places are one.
    last = sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    memory = torch.zeros(last + 1, dtype=dtype, device=device)
    if dtype.is_floating_point:
        memory.normal_()
    return memory.as_strided(shape, stride)


def _matmul(left: Tensor, right: Tensor, is_packed: bool) -> Callable[[], object]:
    if is_packed:
        return partial(
            torch.ops.mkldnn._linear_pointwise, left, right, None, "none", [], ""
        )
    return partial(torch.matmul, left, right, out=torch.matmul(left, right))


def products_of(run: Callable[[], object]) -> tuple[Callable[[], None], int]:
    """Record a run's products and make a run of nothing else.

    Products are matrix multiplications, convolutions and, on a processor, PyTorch's
    fused dense attention, each with its derivative where the run takes it. Deformable
    attention is none.

    Args:
        run: runs once, while it is recorded.

    Returns:
        tuple: a function that computes products of random tensors of the same shapes,
        memory layouts, dtypes and order, PyTorch's matrix multiplications into memory
        that is there already; and the number of multiply-accumulates.
    """
    with _ProductRecorder() as recorder:
        run()
    operands: dict[_Layout, Tensor] = {}
    matmuls: dict[tuple, Callable[[], object]] = {}

    def operand(layout: _Layout) -> Tensor:
        if layout not in operands:
            operands[layout] = _random_operand(layout)
        return operands[layout]

    def replaced(each: Any) -> Any:
        return operand(each.layout) if isinstance(each, _Operand) else each

    calls: list[Callable[[], object]] = []
    for func, *recorded in recorder.calls:
        if func is not None:
            args, kwargs = tree_map(replaced, tuple(recorded))
            calls.append(partial(func, *args, **kwargs))
            continue
        layouts = tuple(recorded)
        if layouts not in matmuls:
            left, right = map(operand, layouts)
            is_packed = layouts[1][1] is None
            matmuls[layouts] = _matmul(left, right, is_packed)
        calls.append(matmuls[layouts])

    @torch.no_grad()
    def run_products() -> None:
        for call in calls:
            call()

    return run_products, recorder.multiplies
