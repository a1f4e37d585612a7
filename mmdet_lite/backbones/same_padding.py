"""TensorFlow's "same" padding, for sizes that a graph leaves open."""

import torch.nn.functional as F
from mmcv.cnn.bricks import Conv2dAdaptivePadding
from mmengine.registry import MODELS
from torch import Tensor


# Where mmcv looks for convolutions, whatever the default scope.
@MODELS.register_module()
class SameConv2d(Conv2dAdaptivePadding):
    """mmcv's ``Conv2dAdaptivePadding``, which exports.

    How much is padded depends on the remainder of the image's size. mmcv makes a plain
    number of it, and a captured graph would pad every image as that it was traced with.
    Arguments, weights and results are the same.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Convolve.

        Args:
            x: (batch, in_channels, height, width).

        Returns:
            Tensor: (batch, out_channels, ceil(height / stride), ceil(width / stride)).
        """
        padding = []
        for axis in (1, 0):  # F.pad begins with the last.
            size, stride = x.shape[2 + axis], self.stride[axis]
            reach = (self.kernel_size[axis] - 1) * self.dilation[axis] + 1
            if reach < stride:
                return super().forward(x)
            # Written so that the size cancels where a graph leaves it open: what is
            # left of it is ceil(size / stride), and does not double with every layer.
            padded = ((size + stride - 1) // stride - 1) * stride + reach
            before = (padded - size) // 2
            padding += [before, padded - size - before]
        if self.kernel_size != (1, 1) or self.stride != (1, 1):
            x = F.pad(x, padding)
        return F.conv2d(
            x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups
        )
