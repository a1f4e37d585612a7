"""PyTorch's attention without the weights that no detector of mmdet reads."""

from typing import Any

from torch import nn


def fuse_self_attention(model: nn.Module) -> None:
    """Let every ``nn.MultiheadAttention`` of a model run as one fused operation.

    mmcv calls it with PyTorch's default, ``need_weights=True``, and drops the weights,
    (batch, num_queries, num_queries), which are the mean over heads of what training
    has to store. Without them PyTorch takes ``scaled_dot_product_attention``, which
    stores none. Results and gradients are the same to rounding; a caller that asks for
    the weights by name gets them.

    Args:
        model: it is changed.
    """
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention) and (
            _without_weights not in module._forward_pre_hooks.values()
        ):
            module.register_forward_pre_hook(_without_weights, with_kwargs=True)


def _without_weights(
    attention: nn.Module, args: tuple, kwargs: dict[str, Any]
) -> tuple[tuple, dict[str, Any]]:
    return args, {"need_weights": False, **kwargs}
