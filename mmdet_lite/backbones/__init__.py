"""Backbones that mmdet lacks."""

from .efficientnet_lite import EfficientNetLite
from .pip_weights import load_from_pip

__all__ = ["EfficientNetLite", "load_from_pip"]
