"""Padding is mmcv's, also at sizes that a graph was not captured with."""

import pytest
import torch
from mmcv.cnn.bricks import Conv2dAdaptivePadding

from mmdet_lite.backbones import SameConv2d

LAYERS = [(3, 1), (3, 2), (5, 1), (5, 2), (1, 1), (1, 2)]


def pair_of(kernel_size, stride):
    torch.manual_seed(0)
    convolution = SameConv2d(2, 2, kernel_size, stride).eval()
    of_mmcv = Conv2dAdaptivePadding(2, 2, kernel_size, stride).eval()
    of_mmcv.load_state_dict(convolution.state_dict())
    return convolution, of_mmcv


@pytest.mark.parametrize(("kernel_size", "stride"), LAYERS)
def test_results_are_those_of_mmcv(kernel_size, stride):
    convolution, of_mmcv = pair_of(kernel_size, stride)
    for size in ((8, 8), (9, 8), (8, 9), (11, 13)):
        image = torch.randn(1, 2, *size)
        assert convolution(image).equal(of_mmcv(image))


@pytest.mark.parametrize(("kernel_size", "stride"), LAYERS[:4])
def test_a_captured_graph_pads_every_size_by_itself(kernel_size, stride):
    convolution, of_mmcv = pair_of(kernel_size, stride)
    dim = torch.export.Dim.DYNAMIC
    exported = torch.export.export(
        convolution,
        (torch.randn(1, 2, 8, 8),),
        dynamic_shapes=({2: dim, 3: dim},),
        strict=True,
    ).module()
    traced = torch.jit.trace(convolution, torch.randn(1, 2, 8, 8), check_trace=False)
    for size in ((9, 8), (8, 9), (11, 13)):
        image = torch.randn(1, 2, *size)
        torch.testing.assert_close(exported(image), of_mmcv(image))
        torch.testing.assert_close(traced(image), of_mmcv(image))


def test_the_size_that_a_graph_leaves_open_does_not_double_with_every_layer():
    layers = torch.nn.Sequential(*(SameConv2d(2, 2, k, 2) for k in (3, 5, 3, 5, 3)))
    dim = torch.export.Dim.DYNAMIC
    program = torch.export.export(
        layers, (torch.randn(1, 2, 200, 260),), dynamic_shapes=({2: dim, 3: dim},)
    )
    (output,) = program.graph.output_node().args[0]
    heights, widths = (str(size) for size in output.meta["val"].shape[2:])
    assert heights.count("s") == widths.count("s") == 1
