"""See what a trained model does."""

from .attention_comparison import (
    choose_layers,
    panels_of_detections,
    panels_of_pixels,
)
from .attention_figure import draw_attention
from .attention_panel import AttentionPanel, detection_panel, token_panel
from .attention_record import AttentionRecord, record_attention
from .attention_summary import summarise_attention, summary_table
from .image_frame import ImageFrame
from .recorded_pass import RecordedPass, record_pass

__all__ = [
    "AttentionPanel",
    "AttentionRecord",
    "ImageFrame",
    "RecordedPass",
    "choose_layers",
    "detection_panel",
    "draw_attention",
    "panels_of_detections",
    "panels_of_pixels",
    "record_attention",
    "record_pass",
    "summarise_attention",
    "summary_table",
    "token_panel",
]
