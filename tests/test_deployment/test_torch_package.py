"""One graph of a Lite detector serves every size and batch."""

import pytest
import torch
from tiny import photograph, tiny_model

from mmdet_lite.deployment.description import Description
from mmdet_lite.deployment.module import DetectorModule
from mmdet_lite.deployment.torch_package import capture
from mmdet_lite.ops import available_backends


@pytest.mark.slow
@pytest.mark.skipif(
    "cpp" not in available_backends(), reason="the C++ kernels are not built"
)
@pytest.mark.parametrize(
    "family", ["LiteDeformableDETR", "LiteHDeformableDETR", "LiteDINO, NMS"]
)
def test_a_captured_graph_is_right_at_other_sizes(small_config, family):
    module = DetectorModule(tiny_model(small_config, family))
    description = Description("m", (), scale=None, keep_ratio=True, shape=None)
    captured = capture(module, (96, 128), description).module()
    images = torch.stack([photograph(97, 131, seed) for seed in (1, 2, 3)])
    with torch.no_grad():
        for actual, expected in zip(captured(images), module(images), strict=True):
            torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)
