"""One graph of a Lite detector serves every size and batch."""

import pytest
import torch
from tiny import photograph, tiny_model
from torch._dynamo.exc import Unsupported

from mmdet_lite.deployment.description import Description
from mmdet_lite.deployment.module import DetectorModule
from mmdet_lite.deployment.torch_package import capture
from mmdet_lite.errors import ConfigError
from mmdet_lite.ops import available_backends

ANY_SIZE = Description("m", (), scale=None, keep_ratio=True, shape=None)
needs_kernels = pytest.mark.skipif(
    "cpp" not in available_backends(), reason="the C++ kernels are not built"
)


@pytest.mark.slow
@needs_kernels
@pytest.mark.parametrize(
    "family", ["LiteDeformableDETR", "LiteHDeformableDETR", "LiteDINO, NMS"]
)
def test_a_captured_graph_is_right_at_other_sizes(small_config, family):
    module = DetectorModule(tiny_model(small_config, family))
    captured = capture(module, (96, 128), ANY_SIZE).module()
    images = torch.stack([photograph(97, 131, seed) for seed in (1, 2, 3)])
    with torch.no_grad():
        for actual, expected in zip(captured(images), module(images), strict=True):
            torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


@needs_kernels
def test_a_torch_that_cannot_follow_the_detector_is_told_in_a_line(
    small_config, monkeypatch
):
    def stop(*args, **options):
        raise Unsupported("'skip function getfullargspec'\n\nfrom user code:")

    monkeypatch.setattr(torch.export, "export", stop)
    module = DetectorModule(tiny_model(small_config, "LiteDINO, NMS"))
    with pytest.raises(ConfigError, match=r"as one graph: .*getfullargspec'; take"):
        capture(module, (96, 128), ANY_SIZE)
