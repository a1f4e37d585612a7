"""The matrix multiplications of a run, alone: the time that no code around can save."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_MATMULS = {
    torch.ops.aten.mm.default: (0, 1),
    torch.ops.aten.bmm.default: (0, 1),
    torch.ops.aten.addmm.default: (1, 2),
    torch.ops.aten.linear.default: (0, 1),
}


class _MatmulRecorder(TorchDispatchMode):
    """Notes operands' shapes, strides and dtypes of every matrix multiplication."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in _MATMULS:
            left, right = (args[index] for index in _MATMULS[func])
            if func is torch.ops.aten.linear.default:
                left, right = left.flatten(0, -2), right.t()
            self.calls.append((_layout(left), _layout(right)))
        elif func is torch.ops.mkldnn._linear_pointwise.default:
            left, packed = args[0].flatten(0, -2), args[1]
            self.calls.append((_layout(left), _packed_layout(packed)))
        return func(*args, **(kwargs or {}))


def _layout(tensor: Tensor) -> tuple:
    return tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device


def _packed_layout(weight: Tensor) -> tuple:
    """Of oneDNN's weights, (out, in), in an order that has no strides."""
    return tuple(weight.shape[::-1]), None, weight.dtype, weight.device


def _random_operand(layout: tuple) -> Tensor:
    shape, stride, dtype, device = layout
    if stride is None:
        weight = torch.randn(shape[::-1], dtype=dtype, device=device)
        return torch.ops.mkldnn._reorder_linear_weight(weight)
    return torch.empty_strided(shape, stride, dtype=dtype, device=device).normal_()


def _product(left: Tensor, right: Tensor, is_packed: bool) -> Callable[[], object]:
    if is_packed:
        return partial(
            torch.ops.mkldnn._linear_pointwise, left, right, None, "none", [], ""
        )
    return partial(torch.matmul, left, right, out=torch.matmul(left, right))


def matmuls_of(run: Callable[[], object]) -> tuple[Callable[[], None], int]:
    """Record a run's matrix multiplications and make a run of nothing else.

    Args:
        run: runs once, while it is recorded.

    Returns:
        tuple: a function that multiplies random matrices of the same shapes, memory
        layouts, dtypes and order, oneDNN's excepted into memory that is there already;
        and the number of multiply-accumulates.
    """
    with _MatmulRecorder() as recorder:
        run()
    operands: dict[tuple, Tensor] = {}
    products: dict[tuple, Callable[[], object]] = {}
    multiplies = 0
    for call in recorder.calls:
        for layout in call:
            if layout not in operands:
                operands[layout] = _random_operand(layout)
        (left, *_), ((*_, columns), stride, *_) = call
        multiplies += math.prod(left) * columns
        if call not in products:
            left, right = (operands[layout] for layout in call)
            products[call] = _product(left, right, is_packed=stride is None)

    @torch.no_grad()
    def run_matmuls() -> None:
        for call in recorder.calls:
            products[call]()

    return run_matmuls, multiplies
