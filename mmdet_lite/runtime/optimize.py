"""Make a trained detector as fast as this package can, for predictions only."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmcv.cnn.utils import fuse_conv_bn
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttention
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import ConfigError
from ..layers.self_attention import fuse_self_attention
from ..model_wrappers import unwrapped
from ..ops.accelerate import accelerate_mmcv
from .memory import keep_freed_memory
from .mixed_precision import has_bfloat16_instructions, predict_in_float32
from .packed_linear import can_pack, pack_linear_layers

_FOLDING_TOLERANCE = 1e-3
# Sides of the image that features are compared on. Necks pool down to a stride of 128.
_PROBE = (256, 256)
_GPU_DTYPES = (torch.bfloat16, torch.float16)


def optimize_for_inference(
    model: nn.Module, dtype: torch.dtype | None = None
) -> nn.Module:
    """Make a detector of mmdet fast; it can predict afterwards and nothing else.

    Batch norms of backbone and neck are folded into the convolutions before them, and
    PyTorch's attention does not compute the weights that no detector reads; mmcv's
    deformable attention runs on this package's operator, in all of the process. On a
    processor, convolutions then keep channels innermost in memory (``channels_last``),
    linear layers run on oneDNN (:mod:`~mmdet_lite.runtime.packed_linear`), and freed
    memory stays with the process. Predictions in float32 are the same to rounding,
    logits within 1e-3. On a GPU,
    :class:`~mmdet_lite.deployment.cuda_graph.CUDAGraphDetector` of the result is
    several times as fast again.

    Args:
        model: any detector of mmdet with ``extract_feat``, also inside of mmengine's
            wrappers; with its weights loaded and on its device. It is changed: its
            weights fit no checkpoint any more, and on a processor it has to stay there.
        dtype: None for float32, ``torch.bfloat16``, or ``torch.float16`` on a GPU:
            what autocast then computes in; boxes and scores stay float32.

    Returns:
        nn.Module: the same model, in evaluation mode.

    Raises:
        ConfigError: the device does not compute in the dtype, or folding would change
            what backbone and neck give. In the second case the model is of no use any
            more.
    """
    detector: Any = unwrapped(model)
    device = next(detector.parameters()).device
    if dtype is not None:
        _require_dtype(dtype, device)
    model.eval().requires_grad_(False)
    _fold_batch_norms(detector, device)
    fuse_self_attention(detector)
    if device.type == "cpu":
        detector.to(memory_format=torch.channels_last)
        if can_pack():
            pack_linear_layers(detector)
        keep_freed_memory()
    if any(isinstance(m, MultiScaleDeformableAttention) for m in model.modules()):
        accelerate_mmcv()
    if dtype is not None:
        predict_in_float32(detector)
        detector.forward = torch.autocast(device.type, dtype)(detector.forward)
    return model


def inference_dtype(device_type: str) -> torch.dtype:
    """What ``--amp`` means to autocast: float16 on a GPU, bfloat16 on a processor."""
    return torch.bfloat16 if device_type == "cpu" else torch.float16


def _require_dtype(dtype: torch.dtype, device: torch.device) -> None:
    known = (torch.bfloat16,) if device.type == "cpu" else _GPU_DTYPES
    if dtype not in known:
        raise ConfigError(
            f"a model on {device.type} is optimised for "
            f"{' or '.join(map(str, known))}, not for {dtype}"
        )
    if device.type == "cpu" and not has_bfloat16_instructions():
        raise ConfigError(
            "this processor has no instructions for bfloat16, which would be several "
            "times slower than float32"
        )


@torch.no_grad()
def _fold_batch_norms(detector: Any, device: torch.device) -> None:
    """Fold in backbone and neck, and hold what they give against what they gave.

    mmcv takes a norm for that of the convolution registered before it, which another
    layer between them, or a convolution with several norms, would make wrong. Heads
    have both (RTMDet's shares convolutions among levels and has a norm for each), and
    what they give cannot be compared without knowing the detector: they stay.
    """
    parts = [
        part
        for name in ("backbone", "neck")
        if isinstance(part := getattr(detector, name, None), nn.Module)
    ]
    if not any(isinstance(m, _BatchNorm) for part in parts for m in part.modules()):
        return
    image = torch.randn(1, 3, *_PROBE, generator=torch.Generator().manual_seed(0))
    image = image.to(device)
    with _whole_float32():
        before = detector.extract_feat(image)
        for part in parts:
            fuse_conv_bn(part)
        after = detector.extract_feat(image)
    if _differ(before, after):
        raise ConfigError(
            f"the batch norms of {type(detector).__name__} with "
            f"{type(detector.backbone).__name__} cannot be folded into its "
            "convolutions: run it without --optimize"
        )


@contextmanager
def _whole_float32() -> Iterator[None]:
    """Keep a GPU from TF32, whose rounding alone exceeds the tolerance."""
    cudnn: Any = torch.backends.cudnn
    matmul = torch.backends.cuda.matmul
    name = "fp32_precision"
    switches: tuple[tuple[Any, Any], ...]
    if hasattr(matmul, name):
        switches = (cudnn.conv, "ieee"), (matmul, "ieee")
    else:  # PyTorch before 2.9
        name = "allow_tf32"
        switches = (cudnn, False), (matmul, False)
    before = [getattr(switch, name) for switch, _ in switches]
    for switch, value in switches:
        setattr(switch, name, value)
    try:
        yield
    finally:
        for (switch, _), value in zip(switches, before, strict=True):
            setattr(switch, name, value)


def _differ(before: Sequence[Tensor], after: Sequence[Tensor]) -> bool:
    return any(
        not torch.isfinite(new).all()
        or (old - new).abs().max() > _FOLDING_TOLERANCE * old.abs().max()
        for old, new in zip(before, after, strict=True)
    )
