"""Prediction heads of mmdet with the settings of the official Lite DETR."""

from .lite_dino_head import LiteDINOHead

__all__ = ["LiteDINOHead"]
