"""A detector made fast predicts what it predicted before."""

from itertools import chain

import pytest
import torch
from mmcv.ops import multi_scale_deform_attn as mmcv_module
from mmdet.models import DetTTAModel
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.model import BaseModel
from torch import nn

from mmdet_lite.cli import read_config
from mmdet_lite.errors import ConfigError
from mmdet_lite.ops.accelerate import fast_mmcv_operator, mmcv_operator
from mmdet_lite.runtime import has_bfloat16_instructions, optimize_for_inference
from mmdet_lite.runtime import optimize as module_under_test

CONFIGS = {
    "EfficientNetLite": "lite-dino_h3l1-2p1x3_effnet-lite0_1xb2-8e_bccd.py",
    "ResNet": "lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py",
    "mmdet's Deformable DETR": "mmdet::deformable_detr/"
    "deformable-detr-refine-twostage_r50_16xb2-50e_coco.py",
}


@pytest.fixture
def build(small_config):
    """Function that builds a detector whose norms are as if trained."""

    def build(name):
        torch.manual_seed(0)
        cfg = small_config(CONFIGS[name]).model
        cfg.backbone.pop("frozen_stages", None)
        model = MODELS.build(cfg).eval()
        nn.init.normal_(model.level_embed)  # Until init_weights it is any memory.
        for norm in model.modules():
            if isinstance(norm, nn.BatchNorm2d):
                nn.init.uniform_(norm.running_mean, -0.5, 0.5)
                nn.init.uniform_(norm.running_var, 0.5, 2)
                nn.init.uniform_(norm.weight, 0.5, 1.5)
                nn.init.uniform_(norm.bias, -0.5, 0.5)
        return model

    with mmcv_operator(fast=False):  # Leaves mmcv as it was for other tests.
        yield build


def predict(model, mode="predict"):
    data = model.data_preprocessor(demo_mm_inputs(2, [[3, 96, 128], [3, 80, 96]]))
    with torch.no_grad():
        return model(**data, mode=mode)


@pytest.mark.parametrize("name", CONFIGS)
def test_boxes_and_scores_stay(build, name):
    model = build(name)
    before = predict(model)
    fast = optimize_for_inference(model)
    assert fast is model
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.backbone.modules())
    assert any(isinstance(m, nn.GroupNorm) for m in model.neck.modules())
    for old, new in zip(before, predict(model), strict=True):
        old, new = old.pred_instances, new.pred_instances
        torch.testing.assert_close(new.scores, old.scores, rtol=1e-3, atol=1e-4)
        # Of equal scores either may come first.
        same = old.labels == new.labels
        assert same.float().mean() > 0.8
        torch.testing.assert_close(
            new.bboxes[same], old.bboxes[same], rtol=1e-3, atol=0.05
        )


def test_a_detector_inside_of_two_wrappers_is_made_fast(build):
    model = build("ResNet")
    wrapped = nn.DataParallel(DetTTAModel(module=model))
    assert optimize_for_inference(wrapped) is wrapped
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.backbone.modules())


@pytest.mark.skipif(
    not has_bfloat16_instructions(), reason="this processor emulates bfloat16"
)
def test_bfloat16_on_request_predicts_float32(build):
    model = build("ResNet")
    exact = predict(model)[0].pred_instances.scores
    optimize_for_inference(model, torch.bfloat16)
    scores = predict(model)[0].pred_instances.scores
    assert scores.dtype == torch.float32
    assert not torch.equal(scores, exact)
    torch.testing.assert_close(scores, exact, rtol=0.1, atol=0.02)


def test_emulated_and_unknown_dtypes_are_refused(build, monkeypatch):
    model = build("ResNet")
    with pytest.raises(ConfigError, match=r"not for torch\.float16"):
        optimize_for_inference(model, torch.float16)
    monkeypatch.setattr(module_under_test, "has_bfloat16_instructions", lambda: False)
    with pytest.raises(ConfigError, match="no instructions for bfloat16"):
        optimize_for_inference(model, torch.bfloat16)


@pytest.fixture(params=["ieee", "tf32"])
def precision(request):
    if not hasattr(torch.backends, "fp32_precision"):
        pytest.skip("of PyTorch 2.9 and newer")
    convolutions = torch.backends.cudnn.conv
    before = convolutions.fp32_precision
    convolutions.fp32_precision = request.param
    yield request.param
    convolutions.fp32_precision = before


def test_settings_of_precision_stay(build, precision):
    optimize_for_inference(build("ResNet"))
    assert torch.backends.cudnn.conv.fp32_precision == precision


def test_norms_that_do_not_follow_their_convolution_are_refused():
    """mmcv folds by order of registration, past whatever lies between."""

    class Detector(BaseModel):
        def __init__(self):
            super().__init__()
            norm = nn.BatchNorm2d(4)
            nn.init.uniform_(norm.running_mean, 0.5, 1)
            self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), norm)

        def extract_feat(self, image):
            return (self.backbone(image),)

        def forward(self, inputs, data_samples=None, mode="tensor"):
            return self.extract_feat(inputs)

    torch.manual_seed(0)
    with pytest.raises(ConfigError, match="cannot be folded"):
        optimize_for_inference(Detector())


@pytest.fixture
def rtmdet():
    """RTMDet, small; its head's convolutions have a norm for each level."""
    model = read_config("mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py").model
    model.backbone.update(init_cfg=None, widen_factor=0.125)
    model.neck.update(in_channels=[32, 64, 128], out_channels=16)
    model.bbox_head.update(in_channels=16, feat_channels=16)
    torch.manual_seed(0)
    detector = MODELS.build(model).eval()
    for norm in detector.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean, -0.5, 0.5)
            nn.init.uniform_(norm.running_var, 0.5, 2)
    return detector


def test_a_head_with_several_norms_to_a_convolution_predicts_the_same(rtmdet):
    assert rtmdet.bbox_head.share_conv
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        before = rtmdet(image)
        after = optimize_for_inference(rtmdet)(image)
    for old, new in zip(chain(*before), chain(*after), strict=True):
        torch.testing.assert_close(new, old, rtol=1e-3, atol=1e-3)
    folded = [*rtmdet.backbone.modules(), *rtmdet.neck.modules()]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded)


def test_a_neck_that_pools_far_is_given_an_image_that_is_large_enough():
    """As NAS-FPN's does, which has a stride of 128 at the top."""

    class Detector(BaseModel):
        def __init__(self):
            super().__init__()
            self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3, 16, 1), nn.BatchNorm2d(4))

        def extract_feat(self, image):
            return (nn.functional.max_pool2d(self.backbone(image), 8),)

        def forward(self, inputs, data_samples=None, mode="tensor"):
            return self.extract_feat(inputs)

    detector = optimize_for_inference(Detector())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in detector.modules())


def test_linear_layers_and_attention_are_made_fast(build):
    model = build("ResNet")
    optimize_for_inference(model)
    plain = [name for name, m in model.named_modules() if type(m).__name__ == "Linear"]
    assert not plain
    attention = model.decoder.layers[0].self_attn.attn
    queries = torch.randn(2, 5, attention.embed_dim)
    with torch.no_grad():
        _, weights = attention(queries, queries, queries)
    assert weights is None


def test_stock_attention_runs_on_the_fast_operator(build):
    model = build("mmdet's Deformable DETR")
    assert mmcv_module.multi_scale_deformable_attn_pytorch is not fast_mmcv_operator
    optimize_for_inference(model)
    assert mmcv_module.multi_scale_deformable_attn_pytorch is fast_mmcv_operator
