"""RT-DETR of the transformers package, to be measured beside this package's models."""

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..messages import first_line

RT_DETR = "rt-detr-r50"
"""Name of the subject."""

PACKAGE = "transformers"


class RTDetr(nn.Module):
    """RT-DETR with ResNet-50 and random weights, from pixels to detections.

    Raises:
        ConfigError: transformers is not installed, or not with what it needs.
    """

    def __init__(self) -> None:
        super().__init__()
        try:
            from transformers import (
                RTDetrConfig,
                RTDetrForObjectDetection,
                RTDetrImageProcessor,
            )

            # transformers imports a name's module, and what that needs, when it is
            # used. Its default is the published RT-DETR-R50, whose backbone comes from
            # a config of its own: nothing is downloaded.
            self.model = RTDetrForObjectDetection(RTDetrConfig(num_labels=80))
            self.processor = RTDetrImageProcessor()
        except ImportError as error:
            raise ConfigError(
                f"{RT_DETR} needs transformers: pip install 'transformers>=4.57,<5' "
                f"({first_line(error)})"
            ) from error

    def require_shape(self, image_shape: tuple[int, int]) -> None:
        """Refuse images that the model cannot take.

        Args:
            image_shape: (height, width).

        Raises:
            ConfigError: a stride does not divide a side, or the levels have fewer
                tokens than there are queries.
        """
        config = self.model.config
        height, width = image_shape
        largest = max(config.feat_strides)
        tokens = sum(height // s * (width // s) for s in config.feat_strides)
        if height % largest or width % largest or tokens < config.num_queries:
            raise ConfigError(
                f"{RT_DETR} takes --shape in multiples of {largest} with at least "
                f"{config.num_queries} tokens, but {height} {width} has {tokens}"
            )

    def forward(self, pixels: Tensor) -> list[dict[str, Tensor]]:
        """Detect.

        Args:
            pixels: (batch, 3, height, width), normalised.

        Returns:
            list: for each image ``boxes`` (300, 4) in pixels, (x1, y1, x2, y2),
            ``scores`` (300,) and ``labels`` (300,), as all of mmdet's DETRs give.
        """
        shape = torch.tensor([pixels.shape[2:]] * len(pixels))
        return self.processor.post_process_object_detection(
            self.model(pixel_values=pixels), threshold=0.0, target_sizes=shape
        )
