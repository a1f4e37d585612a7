"""Backbones that mmdet lacks."""

from .efficientnet_lite import EfficientNetLite
from .pip_weights import load_from_pip
from .same_padding import SameConv2d

__all__ = ["EfficientNetLite", "SameConv2d", "load_from_pip"]
