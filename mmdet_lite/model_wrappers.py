"""What stands around a model: for several devices, averaging, augmentation."""

from typing import Any

from mmengine.model import BaseAveragedModel, BaseTTAModel, is_model_wrapper
from torch import nn


def unwrapped(model: Any) -> nn.Module:
    """A model without its wrappers, of which one may hold another.

    Args:
        model: with any of mmengine's wrappers for devices, for averaged weights and for
            test-time augmentation, or without.

    Returns:
        nn.Module: the innermost ``module``; the model itself where it has no wrapper.
    """
    while isinstance(model, BaseAveragedModel | BaseTTAModel) or is_model_wrapper(
        model
    ):
        model = model.module
    return model
