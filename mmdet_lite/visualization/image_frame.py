"""Where a place on a feature map lies in the image as it was read."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from mmdet.models.detectors import DeformableDETR
from mmdet.structures import DetDataSample
from torch import Tensor


@dataclass(frozen=True)
class ImageFrame:
    """How an image was resized and padded before a detector saw it.

    Attributes:
        original_shape: (height, width) of the image as it was read, in pixels.
        resized_shape: (height, width) after the test pipeline.
        padded_shape: (height, width) of the batch.
        scale_factor: (width, height), resized by original.
    """

    original_shape: tuple[int, int]
    resized_shape: tuple[int, int]
    padded_shape: tuple[int, int]
    scale_factor: tuple[float, float]

    @classmethod
    def of(cls, sample: DetDataSample) -> "ImageFrame":
        """The frame of a prediction of mmdet, from its meta information."""
        meta = sample.metainfo
        return cls(
            original_shape=tuple(meta["ori_shape"][:2]),
            resized_shape=tuple(meta["img_shape"][:2]),
            padded_shape=tuple(meta["batch_input_shape"]),
            scale_factor=tuple(meta.get("scale_factor", (1.0, 1.0))),
        )

    def to_pixels(self, places: Tensor, spatial_shapes: Tensor) -> Tensor:
        """Take places on the maps back to the image, by the model's own rule.

        A place is normalised by the padded map, whose part under the image
        (``valid_ratios``) mmdet rounds to whole cells; a box is normalised by the
        image. The same place of the image is the same pixel from every level.

        Args:
            places: (..., num_levels, num_points, 2), (x, y), a map's width and height
                being 1.
            spatial_shapes: (num_levels, 2), (height, width).

        Returns:
            Tensor: (..., num_levels, num_points, 2), (x, y) in pixels of the image as
            it was read, its upper left corner being (0, 0).
        """
        ratios = self.valid_ratios(spatial_shapes).to(places)
        height, width = self.resized_shape
        size = places.new_tensor([width, height]) / places.new_tensor(self.scale_factor)
        return places / ratios[:, None] * size

    def valid_ratios(self, spatial_shapes: Tensor) -> Tensor:
        """Part of each map under the image, as mmdet's ``pre_transformer`` finds it.

        Args:
            spatial_shapes: (num_levels, 2), (height, width).

        Returns:
            Tensor: (num_levels, 2), (width, height).
        """
        if self.resized_shape == self.padded_shape:
            return torch.ones(len(spatial_shapes), 2)
        height, width = self.resized_shape
        padding = torch.ones(1, 1, *self.padded_shape)
        padding[..., :height, :width] = 0
        ratios = []
        for shape in spatial_shapes.tolist():
            mask = F.interpolate(padding, size=shape)[0].bool()
            ratios.append(DeformableDETR.get_valid_ratio(mask)[0])
        return torch.stack(ratios)

    def strides(self, spatial_shapes: Tensor) -> list[int]:
        """Pixels of the padded image that a cell of each map stands for.

        Args:
            spatial_shapes: (num_levels, 2), (height, width).
        """
        return [self._stride(shape) for shape in spatial_shapes.tolist()]

    def _stride(self, shape: Sequence[int]) -> int:
        # Every halving rounds up, so that a map of 5 cells may stand for 129 pixels of
        # stride 32: the power of two is the one that gives this number of cells.
        for stride in (2**power for power in range(12)):
            if all(
                -(-side // stride) == cells
                for side, cells in zip(self.padded_shape, shape, strict=True)
            ):
                return stride
        return round(max(self.padded_shape) / max(shape))
