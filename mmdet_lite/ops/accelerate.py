"""Let mmcv's own attention modules run on this package's operator.

mmcv computes plain deformable attention on the CPU by ``grid_sample``, for all of
mmdet's deformable models and in their decoders too. Replacing that one function makes
them as fast as the operator here, with the same results. On CUDA mmcv's own kernels
stay.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from mmcv.ops import multi_scale_deform_attn as mmcv_module
from torch import Tensor

from .functional import multi_scale_deformable_attention

_MMCV_OPERATOR = mmcv_module.multi_scale_deformable_attn_pytorch


def fast_mmcv_operator(
    value: Tensor,
    value_spatial_shapes: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    """Stand in for mmcv's ``multi_scale_deformable_attn_pytorch``.

    Args and result as :func:`mmdet_lite.ops.multi_scale_deformable_attention`, without
    ``level_start_index``, which mmcv does not pass on.
    """
    sizes = value_spatial_shapes.prod(1)
    return multi_scale_deformable_attention(
        value,
        value_spatial_shapes,
        sizes.cumsum(0) - sizes,
        # Under autocast mmcv's module leaves them in different precisions.
        sampling_locations.float()
        if sampling_locations.dtype != value.dtype
        else sampling_locations,
        attention_weights.to(value.dtype),
    )


@contextmanager
def mmcv_operator(fast: bool) -> Iterator[None]:
    """Choose the operator of mmcv's module for a while; what was before returns.

    Args:
        fast: this package's operator, or mmcv's own.
    """
    before = mmcv_module.multi_scale_deformable_attn_pytorch
    mmcv_module.multi_scale_deformable_attn_pytorch = (
        fast_mmcv_operator if fast else _MMCV_OPERATOR
    )
    try:
        yield
    finally:
        mmcv_module.multi_scale_deformable_attn_pytorch = before


def accelerate_mmcv() -> None:
    """Let mmcv's module run on this package's operator from now on."""
    mmcv_module.multi_scale_deformable_attn_pytorch = fast_mmcv_operator
