"""Let mmcv's own attention modules run on this package's operator.

mmcv computes plain deformable attention for all of mmdet's deformable models, in their
decoders too: on the CPU by ``grid_sample``, on CUDA by kernels that know no bfloat16.
Replacing these two functions makes the models as fast as the operator here, with the
same results.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmcv.ops import multi_scale_deform_attn as mmcv_module
from torch import Tensor

from .functional import multi_scale_deformable_attention

_ON_CPU = "multi_scale_deformable_attn_pytorch"
_ON_CUDA = "MultiScaleDeformableAttnFunction"
_OF_MMCV = {name: getattr(mmcv_module, name) for name in (_ON_CPU, _ON_CUDA)}


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
    return FastMMCVFunction.apply(
        value,
        value_spatial_shapes,
        sizes.cumsum(0) - sizes,
        sampling_locations,
        attention_weights,
    )


class FastMMCVFunction:
    """Stands in for mmcv's ``MultiScaleDeformableAttnFunction``."""

    @staticmethod
    def apply(
        value: Tensor,
        value_spatial_shapes: Tensor,
        value_level_start_index: Tensor,
        sampling_locations: Tensor,
        attention_weights: Tensor,
        im2col_step: int = 0,
    ) -> Tensor:
        """Args and result as :func:`mmdet_lite.ops.multi_scale_deformable_attention`.

        ``im2col_step``, how many images mmcv's kernels take at a time, is not needed.
        """
        return multi_scale_deformable_attention(
            value,
            value_spatial_shapes,
            value_level_start_index,
            # Under autocast mmcv's module leaves them in different precisions.
            sampling_locations.float()
            if sampling_locations.dtype != value.dtype
            else sampling_locations,
            attention_weights.to(value.dtype),
        )


_FAST = {_ON_CPU: fast_mmcv_operator, _ON_CUDA: FastMMCVFunction}


@contextmanager
def mmcv_operator(fast: bool) -> Iterator[None]:
    """Choose the operator of mmcv's module for a while; what was before returns.

    Args:
        fast: this package's operator, or mmcv's own.
    """
    before = {name: getattr(mmcv_module, name) for name in _OF_MMCV}
    _replace(_FAST if fast else _OF_MMCV)
    try:
        yield
    finally:
        _replace(before)


def accelerate_mmcv() -> None:
    """Let mmcv's module run on this package's operator from now on."""
    _replace(_FAST)


def _replace(operators: dict[str, Any]) -> None:
    for name, operator in operators.items():
        setattr(mmcv_module, name, operator)
