"""Linear layers on oneDNN, with weights laid out for its kernels once and for all."""

from collections import Counter
from itertools import pairwise
from typing import TypeGuard

import torch
from mmcv.cnn.bricks.wrappers import Linear as MMCVLinear
from torch import Tensor, nn


class PackedLinear(nn.Linear):
    """A linear layer for predictions on a processor, with a ReLU if one followed.

    PyTorch hands a linear layer in float32 to the BLAS library, copies the bias into
    the result first and lets an activation pass over it afterwards. oneDNN does all of
    it while the result is in the cache, with the weights in the order in which its
    kernel reads them.

    Under autocast it computes in autocast's dtype, as the layer would.

    Args:
        linear: the layer to stand for, float32, on a processor.

    Attributes:
        weight: the weights of ``linear`` in oneDNN's order, which oneDNN alone can
            read: (out_features, in_features).
        relu: whether a ReLU follows. Defaults to False.
    """

    def __init__(self, linear: nn.Linear) -> None:
        bias = linear.bias
        super().__init__(
            linear.in_features, linear.out_features, bias is not None, device="meta"
        )
        self.weight = nn.Parameter(_packed(linear.weight), requires_grad=False)
        if bias is not None:
            self.bias = nn.Parameter(bias.detach(), requires_grad=False)
        self.relu = False
        self._converted: dict[torch.dtype, tuple[Tensor, Tensor | None]] = {}

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        weight: Tensor = self.weight
        bias: Tensor | None = self.bias
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            input = input.to(dtype)
            weight, bias = self._in(dtype)
        activation = "relu" if self.relu else "none"
        return torch.ops.mkldnn._linear_pointwise(
            input, weight, bias, activation, [], ""
        )

    def _in(self, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """Weight and bias in another dtype, converted once."""
        if dtype not in self._converted:
            bias = None if self.bias is None else self.bias.to(dtype)
            self._converted[dtype] = (_packed(self.weight.to_dense(dtype)), bias)
        return self._converted[dtype]


def _packed(weight: Tensor) -> Tensor:
    # oneDNN is not told a number of rows: its order was the same for all that we tried.
    return torch.ops.mkldnn._reorder_linear_weight(weight.detach())


def can_pack() -> bool:
    """Whether this PyTorch has oneDNN, and the operators that its compiler calls."""
    return torch.backends.mkldnn.is_available() and hasattr(
        torch.ops.mkldnn, "_linear_pointwise"
    )


def pack_linear_layers(model: nn.Module) -> None:
    """Put :class:`PackedLinear` in the place of the linear layers of a model.

    Layers that were given hooks, and classes of layers that compute something else,
    stay; so do those whose weights other modules read (PyTorch's
    ``MultiheadAttention``). A ReLU after a layer of an ``nn.Sequential`` becomes part
    of it where the layer stands nowhere else.

    Args:
        model: on a processor, its weights float32; it is changed, and can predict only.
    """
    packed: dict[nn.Linear, PackedLinear] = {}
    uses: Counter[PackedLinear] = Counter()
    for parent in list(model.modules()):
        # Not named_children, which gives a layer that has two names only once.
        for name, layer in list(parent._modules.items()):
            if not _is_plain(layer):
                continue
            if layer not in packed:
                packed[layer] = PackedLinear(layer)
            setattr(parent, name, packed[layer])
            uses[packed[layer]] += 1
    for parent in list(model.modules()):
        if isinstance(parent, nn.Sequential):
            _take_in_relus(parent, uses)


def _is_plain(layer: nn.Module | None) -> TypeGuard[nn.Linear]:
    return (
        isinstance(layer, nn.Linear)
        and type(layer) in (nn.Linear, MMCVLinear)
        and layer.weight.dtype == torch.float32
        and "forward" not in vars(layer)
        and not (layer._forward_hooks or layer._forward_pre_hooks)
    )


def _take_in_relus(sequence: nn.Sequential, uses: Counter[PackedLinear]) -> None:
    children = sequence._modules
    for name, following in pairwise(list(children)):
        layer = children[name]
        # Elsewhere a layer may have no ReLU.
        if (
            isinstance(layer, PackedLinear)
            and type(children[following]) is nn.ReLU
            and uses[layer] == 1
        ):
            layer.relu = True
            children[following] = nn.Identity()
