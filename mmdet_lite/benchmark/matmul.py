"""The matrix multiplications of a run, alone: the time that no code around can save."""

from collections.abc import Callable

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
        return func(*args, **(kwargs or {}))


def _layout(tensor: Tensor) -> tuple:
    return tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device


def matmuls_of(run: Callable[[], object]) -> tuple[Callable[[], None], int]:
    """Record a run's matrix multiplications and make a run of nothing else.

    Args:
        run: runs once, while it is recorded.

    Returns:
        tuple: a function that multiplies random matrices of the same shapes, memory
        layouts, dtypes and order, into memory that is there already; and the number
        of multiply-accumulates.
    """
    with _MatmulRecorder() as recorder:
        run()
    operands, results, multiplies = {}, {}, 0
    for call in recorder.calls:
        for shape, stride, dtype, device in call:
            layout = (shape, stride, dtype, device)
            if layout not in operands:
                operands[layout] = torch.empty_strided(
                    shape, stride, dtype=dtype, device=device
                ).normal_()
        (left, *_), (right, *_) = call
        multiplies += int(torch.Size(left).numel()) * right[-1]
        if call not in results:
            results[call] = torch.matmul(operands[call[0]], operands[call[1]])

    @torch.no_grad()
    def run_matmuls() -> None:
        for call in recorder.calls:
            torch.matmul(operands[call[0]], operands[call[1]], out=results[call])

    return run_matmuls, multiplies
