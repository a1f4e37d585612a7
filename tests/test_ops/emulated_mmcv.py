"""mmcv's two CUDA kernels in PyTorch, to test what happens around them anywhere."""

from concurrent.futures import ThreadPoolExecutor

import torch

from mmdet_lite.ops.backends import reference


def plain_gradients(value, spatial_shapes, starts, locations, weights, grad_output):
    """The reference's gradients of value, locations and weights, in double."""
    value, locations, weights = (
        tensor.detach().double().requires_grad_()
        for tensor in (value, locations, weights)
    )
    output = reference.multi_scale_deformable_attention(
        value, spatial_shapes, starts, locations, weights
    )
    return torch.autograd.grad(
        output, (value, locations, weights), grad_output.double()
    )


class EmulatedKernels:
    """mmcv's two functions: the same arguments, demands and results.

    Some of mmcv's backward kernels add to the gradients of locations and weights,
    others overwrite them, depending on the head dimensions: ``overwrites`` says which
    to be.
    """

    def __init__(self, overwrites=False):
        self.overwrites = overwrites
        self.calls = []
        self.batches = []

    def ms_deform_attn_forward(
        self, value, spatial_shapes, starts, locations, weights, *, im2col_step
    ):
        self.calls.append("forward")
        self.check(value, spatial_shapes, starts, locations, weights, im2col_step)
        # The levels may be some of those that value has.
        ends = starts + spatial_shapes.prod(1)
        levels = [value[:, start:end] for start, end in zip(starts, ends, strict=True)]
        sizes = torch.tensor([level.shape[1] for level in levels])
        output = reference.multi_scale_deformable_attention(
            *(torch.cat(levels, 1).double(), spatial_shapes, sizes.cumsum(0) - sizes),
            *(locations.double(), weights.double()),
        )
        return output.to(value.dtype)

    def ms_deform_attn_backward(
        self,
        value,
        spatial_shapes,
        starts,
        locations,
        weights,
        grad_output,
        grad_value,
        grad_locations,
        grad_weights,
        *,
        im2col_step,
    ):
        self.calls.append("backward")
        self.check(value, spatial_shapes, starts, locations, weights, im2col_step)
        assert grad_output.is_contiguous()
        assert grad_output.dtype == value.dtype
        grad_output = grad_output.view(*locations.shape[:2], value[0, 0].numel())
        tensors = value, spatial_shapes, starts, locations, weights
        # Autograd is off inside of a registered operator, but not in another thread.
        with ThreadPoolExecutor(1) as pool:
            grads = pool.submit(plain_gradients, *tensors, grad_output).result()
        grad_value += grads[0]
        for tensor, grad in (
            (grad_locations, grads[1]),
            (grad_weights, grads[2]),
        ):
            assert tensor.is_contiguous()
            if self.overwrites:
                tensor.copy_(grad)
            else:
                tensor += grad

    def check(self, value, spatial_shapes, starts, locations, weights, im2col_step):
        for tensor in (value, spatial_shapes, starts, locations, weights):
            assert tensor.is_contiguous()
            assert tensor.numel() > 0
        assert value.dtype == locations.dtype == weights.dtype
        assert value.dtype in (torch.float32, torch.float64)
        assert spatial_shapes.dtype == starts.dtype == torch.int64
        assert len(value) % min(len(value), im2col_step) == 0
        self.batches.append(len(value))
