"""TensorFlow's "same" padding, for sizes that a graph leaves open."""

import torch.nn.functional as F
from mmcv.cnn.bricks import Conv2dAdaptivePadding
from mmengine.registry import MODELS
from torch import Tensor


# Where mmcv looks for convolutions, whatever the default scope.
@MODELS.register_module()
class SameConv2d(Conv2dAdaptivePadding):
    """mmcv's ``Conv2dAdaptivePadding``, which exports and copies less.

    How much is padded depends on the remainder of the image's size. mmcv makes a plain
    number of it, and a captured graph would pad every image as that it was traced with.
    Where the stride is 1 it does not depend on the size, and the convolution pads
    itself, without a copy. Arguments, weights and results are the same.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Convolve.

        Args:
            x: (batch, in_channels, height, width).

        Returns:
            Tensor: (batch, out_channels, ceil(height / stride), ceil(width / stride)).
        """
        reach = [
            (kernel_size - 1) * dilation + 1
            for kernel_size, dilation in zip(
                self.kernel_size, self.dilation, strict=True
            )
        ]
        within = (0, 0)
        if self.stride == (1, 1) and all(length % 2 for length in reach):
            within = (reach[0] // 2, reach[1] // 2)
        elif any(
            length < stride for length, stride in zip(reach, self.stride, strict=True)
        ):
            return super().forward(x)
        elif self.kernel_size != (1, 1):
            x = F.pad(
                x, [*self._missing(x, 1, reach[1]), *self._missing(x, 0, reach[0])]
            )
        return F.conv2d(
            x, self.weight, self.bias, self.stride, within, self.dilation, self.groups
        )

    def _missing(self, x: Tensor, axis: int, reach: int) -> tuple[int, int]:
        """What is missing before and after a side; more of it after."""
        size, stride = x.shape[2 + axis], self.stride[axis]
        # Written so that the size cancels where a graph leaves it open: what is left
        # of it is ceil(size / stride), and does not double with every layer.
        padded = ((size + stride - 1) // stride - 1) * stride + reach
        before = (padded - size) // 2
        return before, padded - size - before
