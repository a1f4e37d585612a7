"""Run a model for the shapes of its tensors alone, at a fraction of the time."""

from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten
_PRODUCTS = {
    _aten.mm.default: (0, 1),
    _aten.bmm.default: (0, 1),
    _aten.addmm.default: (1, 2),
    _aten.baddbmm.default: (1, 2),
}


class ShapesOnly(TorchDispatchMode):
    """Matrix products and convolutions give zeros of the right shape.

    Everything else runs, so that sizes read out of tensors are right; fake tensors
    have no numbers to read. It works under ``torch.jit.trace`` and leaves the traced
    graph as it is. That is why shapes come from broadcasting here: a size read in
    Python would be noted in the graph.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in _PRODUCTS:
            left, right = (args[index] for index in _PRODUCTS[func])
            return (left[..., :1] * right[..., :1, :]).zero_()
        if func is _aten.convolution.default:
            # What a trace notes is the inner operator, with four flags of cuDNN more.
            with _noted_in_traces(), self:
                return _aten._convolution.default(*args, False, False, False, False)
        if func is _aten._convolution.default and not args[6]:
            return _zero_convolution(*args[:9])
        # A transposed convolution's weight holds its output channels second, those of
        # one group only: too rare to be worth a rule.
        return func(*args, **(kwargs or {}))


def _noted_in_traces() -> AbstractContextManager:
    """PyTorch hides from the tracer what a dispatch mode runs; undo that."""
    hidden = torch._C._dispatch_tls_local_exclude_set()
    return torch._C._ForceDispatchKeyGuard(
        torch._C._dispatch_tls_local_include_set(),
        hidden.remove(torch._C._parse_dispatch_key("Tracer")),  # type: ignore[arg-type]
    )


def _zero_convolution(image: Tensor, weight: Tensor, bias, *settings) -> Tensor:
    """Convolve one channel for the size, then repeat it for every output channel."""
    one_channel = _aten.convolution.default(
        image[:, :1], weight[:1, :1], None, *settings[:-1], 1
    )
    per_channel = weight.flatten(1)[:, 0]
    for _ in range(image.dim() - 2):
        per_channel = per_channel.unsqueeze(-1)
    return (one_channel * per_channel).zero_()
