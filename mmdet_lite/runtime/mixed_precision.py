"""Mixed precision whose predictions are as good as float32's and can be read."""

import platform
import warnings
from collections.abc import Callable

import torch
from mmdet.structures import DetDataSample
from torch import Tensor, nn


def has_bfloat16_instructions() -> bool:
    """Whether the processor multiplies in bfloat16, or would have to emulate it."""
    if platform.machine().lower() in ("x86_64", "amd64"):
        return _has_avx512_bf16()
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _has_avx512_bf16() -> bool:
    """Ask PyTorch by what its version has."""
    if hasattr(torch.cpu, "get_capabilities"):
        return bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    return torch.cpu._is_avx512_bf16_supported()


def warn_of_slow_autocast(device_type: str) -> None:
    """Say so where autocast computes in a precision that the processor emulates.

    A matrix product in emulated bfloat16 takes several times as long as in float32.

    Args:
        device_type: where the model runs, ``'cpu'`` or ``'cuda'``.
    """
    if device_type == "cpu" and not has_bfloat16_instructions():
        warnings.warn(
            "this processor has no instructions for bfloat16 "
            f"({torch.backends.cpu.get_cpu_capability()}): mixed precision will be "
            "several times slower than float32 on it",
            stacklevel=2,
        )


def predict_in_float32(model: nn.Module) -> None:
    """Keep what is predicted in float32 whatever autocast computes in.

    A coordinate has 8 bits in bfloat16, which is 1/256 of the image: the branches that
    predict boxes and scores run in float32, where they cost little. Results are float32
    too, because mmdet's metrics turn them into NumPy arrays, which have no bfloat16.

    Args:
        model: a detector of mmdet, float32; it is changed.
    """
    branches = {
        branch
        for module in model.modules()
        for name in ("cls_branches", "reg_branches")
        for branch in getattr(module, name, ())
    }
    for branch in branches:
        branch.forward = _in_float32(branch.forward)
    model.register_forward_hook(_convert_predictions)


def _in_float32(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Convert what is floating; Grounding DINO's branches take the text's mask too."""

    def run(features: Tensor, *others: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return forward(
                *(
                    tensor.float() if tensor.is_floating_point() else tensor
                    for tensor in (features, *others)
                )
            )

    return run


def _convert_predictions(model: nn.Module, args: tuple, output: object) -> None:
    if not isinstance(output, list):
        return
    for sample in output:
        if isinstance(sample, DetDataSample) and "pred_instances" in sample:
            instances = sample.pred_instances
            for name, field in list(instances.items()):
                if torch.is_tensor(field) and field.is_floating_point():
                    instances[name] = field.float()
