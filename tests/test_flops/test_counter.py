"""FLOPs follow one rule on every backend and come out as the paper has them."""

import contextlib
import functools
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from mmcv.ops import MultiScaleDeformableAttention
from mmcv.ops import multi_scale_deform_attn as mmcv_module
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.model import BaseModel
from mmengine.runner import CheckpointLoader
from torch import nn

from mmdet_lite.errors import ConfigError
from mmdet_lite.flops import counter
from mmdet_lite.flops.counter import PARTS, count_flops, count_model_flops
from mmdet_lite.flops.formula import encoder_flops_formula
from mmdet_lite.layers import KeyAwareDeformableAttention
from mmdet_lite.ops import accelerate, dispatch

DINO = "mmdet::dino/dino-4scale_r50_8xb2-36e_coco.py"
LEVELS = [100 * 134, 50 * 67, 25 * 34, 13 * 17]


class Detector(BaseModel):
    """A detector of one part; ``run`` gets that part and the image."""

    def __init__(self, run, pad_size_divisor=1, **parts):
        super().__init__({"type": "DetDataPreprocessor", "pad_size_divisor": 1})
        self.data_preprocessor.pad_size_divisor = pad_size_divisor
        for name, part in parts.items():
            self.add_module(name, part)
        self.run = run

    def forward(self, inputs, data_samples, mode):
        """One output, as ``mode='tensor'`` of mmdet's detectors gives."""
        assert mode == "tensor"
        assert not torch.is_grad_enabled()
        return self.run(self, inputs)


def count_layer(layer, run, shape=(8, 10)):
    detector = Detector(lambda self, image: run(self.backbone, image), backbone=layer)
    counts = count_model_flops(detector, shape)
    assert counts["total"] == counts["backbone"] + counts["rest"]
    return counts


def tokens_of(image, number, channels):
    """(1, number, channels) that depend on the image."""
    return image.flatten(1)[:, :1, None].expand(1, number, channels)


@pytest.mark.parametrize(
    ("layer", "run", "expected"),
    [
        (nn.Conv2d(3, 8, 3, stride=2, padding=1), None, 4 * 5 * 8 * 27),
        (nn.Conv2d(3, 6, 3, padding=1, groups=3), None, 8 * 10 * 6 * 9),
        (nn.Conv2d(3, 6, (1, 3), padding="same"), None, 8 * 10 * 6 * 9),
        (nn.ConvTranspose2d(3, 8, 2, stride=2), None, 8 * 10 * 3 * 8 * 4),
        (nn.Linear(10, 7), None, 3 * 8 * 10 * 7),
        (nn.Linear(10, 7, bias=False), None, 3 * 8 * 10 * 7),
        (nn.LayerNorm(10), None, 5 * 3 * 8 * 10),
        (nn.LayerNorm(10, elementwise_affine=False), None, 5 * 3 * 8 * 10),
        (nn.BatchNorm2d(3), None, 0),
        (nn.GroupNorm(3, 3), None, 0),
        (nn.Sequential(nn.ReLU(), nn.Softmax(-1), nn.MaxPool2d(2)), None, 0),
        (nn.ReLU6(inplace=True), None, 0),
        (nn.Upsample(scale_factor=2), None, 0),
        (nn.Upsample(scale_factor=2, mode="bilinear"), None, 4 * 3 * 16 * 20),
        (
            nn.Identity(),
            lambda _, image: F.grid_sample(
                image, image[:, :2].permute(0, 2, 3, 1), align_corners=False
            ),
            4 * 3 * 8 * 10,
        ),
        (nn.Identity(), lambda _, image: image @ image.mT, 3 * 8 * 10 * 8),
        (nn.Identity(), lambda _, image: image[0, 0] @ image.mT, 3 * 8 * 10 * 8),
        (
            nn.Identity(),
            lambda _, image: torch.bmm(image[0], image[0].mT),
            3 * 8 * 10 * 8,
        ),
        (
            nn.Identity(),
            lambda _, image: torch.einsum("bchw,bcgw->bhg", image, image),
            3 * 8 * 10 * 8,
        ),
        (
            nn.Identity(),
            lambda _, image: F.scaled_dot_product_attention(image, image, image),
            2 * 3 * 8 * 10 * 8,
        ),
    ],
)
def test_a_layer_counts_by_hand(layer, run, expected):
    counts = count_layer(layer, run or (lambda layer, image: layer(image)))
    assert counts["uncounted"] == {}
    assert counts["total"] == expected
    assert counts["params"] == sum(p.numel() for p in layer.parameters())


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("with_position", [True, False])
def test_products_inside_attention_are_told_apart(need_weights, with_position):
    def run(attention, image):
        value = tokens_of(image, 6, 32)
        query = value + 1 if with_position else value
        return attention(query, query, value, need_weights=need_weights)[0]

    counts = count_layer(nn.MultiheadAttention(32, 4, batch_first=True).eval(), run)
    assert counts["total"] == 4 * 6 * 32 * 32
    assert counts["attention_products"] == 2 * 6 * 6 * 32
    assert counts["uncounted"] == {}


def count_attention(attention):
    """5 queries on 4·5 + 2·3 tokens; 4 heads, 2 levels, 2 points, 32 channels."""

    def run(detector, image):
        return detector.encoder(
            query=tokens_of(image, 5, 32),
            value=tokens_of(image, 26, 32),
            reference_points=torch.full((1, 5, 2, 2), 0.5),
            spatial_shapes=torch.tensor([[4, 5], [2, 3]]),
            level_start_index=torch.tensor([0, 20]),
        )

    counts = count_model_flops(Detector(run, encoder=attention), (8, 10))
    assert counts["total"] == counts["encoder"]
    assert counts["uncounted"] == {}
    assert counts["tokens"] == 5
    return counts


SIZES = {"embed_dims": 32, "num_heads": 4, "num_levels": 2, "num_points": 2}
SAMPLED = 5 * 4 * 2 * 2 * 8


def test_plain_attention_counts_by_hand():
    counts = count_attention(MultiScaleDeformableAttention(**SIZES, batch_first=True))
    linear = 26 * 32 * 32 + 5 * 32 * (32 + 16 + 32)
    assert counts["encoder"] == linear + 4 * SAMPLED
    assert counts["encoder_paper"] == linear


@pytest.mark.parametrize("proj_key", [False, True])
def test_key_aware_attention_counts_by_hand(proj_key):
    counts = count_attention(
        KeyAwareDeformableAttention(**SIZES, batch_first=True, proj_key=proj_key)
    )
    linear = (1 + proj_key) * 26 * 32 * 32 + 5 * 32 * (32 + 32)
    query_projection = 5 * 32 * 32
    assert counts["encoder"] == linear + query_projection + (8 + 2) * SAMPLED
    assert counts["encoder_paper"] == linear


def test_predicted_logits_count_as_a_linear_layer():
    key_aware, predicting = (
        count_attention(
            KeyAwareDeformableAttention(**SIZES, batch_first=True, predict_logits=given)
        )
        for given in (False, True)
    )
    for name in ("encoder", "encoder_paper"):
        assert predicting[name] - key_aware[name] == 5 * 32 * 16


@pytest.mark.parametrize(
    "backend", ["auto", "cpp", "reference", "triton", "mmcv", "environment"]
)
def test_every_backend_of_ours_counts_the_same(backend, monkeypatch):
    if backend == "environment":
        monkeypatch.setenv("MMDET_LITE_BACKEND", "reference")
        backend = "auto"
    attention = KeyAwareDeformableAttention(**SIZES, batch_first=True, backend=backend)
    counts = count_attention(attention)
    assert counts["encoder"] - counts["encoder_paper"] == 5 * 32 * 32 + 10 * SAMPLED


def test_operators_of_mmcv_count_the_same(monkeypatch):
    attention = MultiScaleDeformableAttention(**SIZES, batch_first=True)
    stock = count_attention(attention)
    with accelerate.mmcv_operator(fast=True):
        assert count_attention(attention) == stock
    # mmcv takes its compiled operator on a GPU, and on a device that it calls MLU.
    monkeypatch.setattr(mmcv_module, "IS_MLU_AVAILABLE", True)
    monkeypatch.setattr(torch.Tensor, "is_mlu", True, raising=False)
    calls = []
    apply = accelerate.FastMMCVFunction.apply

    def record(*arguments):
        calls.append(arguments)
        return apply(*arguments)

    monkeypatch.setattr(accelerate.FastMMCVFunction, "apply", record)
    assert count_attention(attention) == stock
    assert calls


def test_a_count_leaves_no_trace(small_config):
    cfg = small_config("lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py")
    before = deepcopy(cfg.to_dict())
    count_flops(cfg, (64, 96))
    assert cfg.to_dict() == before
    model = MODELS.build(deepcopy(cfg.model)).train()
    operator = mmcv_module.multi_scale_deformable_attn_pytorch
    hooks = len(model.encoder._forward_hooks)
    count_model_flops(model, (64, 96))
    assert model.training
    assert model.decoder.training
    assert len(model.encoder._forward_hooks) == hooks
    assert not dispatch._FORCED
    assert mmcv_module.multi_scale_deformable_attn_pytorch is operator
    assert torch.backends.mha.get_fastpath_enabled()


def swin_config(small_config):
    cfg = small_config("mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py")
    cfg.model.backbone = {
        "type": "SwinTransformer",
        "embed_dims": 24,
        "depths": (2, 2, 2, 2),
        "num_heads": (1, 2, 4, 8),
        "window_size": 7,
        "out_indices": (1, 2, 3),
    }
    cfg.model.neck.in_channels = [48, 96, 192]
    return cfg


@pytest.mark.parametrize("backbone", ["resnet", "swin"])
def test_what_is_not_computed_changes_no_count(backbone, small_config, monkeypatch):
    cfg = (
        swin_config(small_config)
        if backbone == "swin"
        else small_config("lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py")
    )
    fast = count_flops(cfg, (64, 96))
    assert fast["uncounted"] == {}
    monkeypatch.setattr(counter, "ShapesOnly", contextlib.nullcontext)
    assert count_flops(cfg, (64, 96)) == fast


def test_products_in_windows_count(small_config):
    model = MODELS.build(swin_config(small_config).model)
    attention = model.backbone.stages[0].blocks[0].attn.w_msa
    detector = Detector(
        lambda self, image: self.backbone(tokens_of(image, 49, 24)), backbone=attention
    )
    counts = count_model_flops(detector, (8, 10))
    assert counts["total"] == 49 * 24 * (3 * 24 + 24) + 2 * 49 * 49 * 24


@functools.cache
def full_size(high=4, updates=2, blocks=3, levels=4):
    """Count at 800x1066: DINO, or Lite-DINO where there are fewer high levels."""
    cfg = get_config(DINO)
    if high < 4:
        cfg.model.type = "LiteDINO"
        cfg.model.encoder.update(
            num_high_levels=high, num_high_updates=updates, num_blocks=blocks
        )
    if levels < 4:
        cfg.model.num_feature_levels = levels
        cfg.model.backbone.out_indices = (0, 1, 2, 3)[5 - levels :]
        cfg.model.neck.in_channels = [256, 512, 1024, 2048][5 - levels :]
        cfg.model.neck.num_outs = levels
        cfg.model.encoder.layer_cfg.self_attn_cfg.num_levels = levels
        cfg.model.decoder.layer_cfg.cross_attn_cfg.num_levels = levels
    return count_flops(cfg)


@pytest.mark.parametrize(
    ("variant", "paper"),
    [
        ({}, 235),
        ({"high": 2}, 130),
        ({"high": 3, "updates": 6, "blocks": 1}, 141),
        ({"high": 3}, 151),
        ({"levels": 3}, 120.6),
        ({"levels": 2}, 92.1),
    ],
    ids=lambda case: "-".join(map(str, case.values())) if type(case) is dict else None,
)
def test_totals_are_the_papers(variant, paper):
    counts = full_size(**variant)
    assert counts["total"] == pytest.approx(paper * 1e9, rel=0.02)
    assert counts["uncounted"] == {}
    assert counts["tokens"] == sum(LEVELS[4 - variant.get("levels", 4) :])
    assert counts["total"] == sum(counts[part] for part in (*PARTS, "rest"))
    # Nothing runs outside of the children, so the parts are counted, not left over.
    assert counts["rest_by_module"] == {
        "memory_trans_fc": counts["tokens"] * 256 * 256,
        "memory_trans_norm": counts["tokens"] * 256 * 5,
    }


def test_the_plain_encoder_is_the_formula():
    assert full_size()["encoder"] == encoder_flops_formula(LEVELS, key_aware=False)
    assert full_size()["encoder_paper"] == pytest.approx(137e9, rel=0.002)


def test_parameters_are_those_of_the_zoo(dino_of_the_zoo):
    assert count_flops(get_config(DINO))["params"] == 47_702_412


@pytest.mark.parametrize(("high", "updates", "blocks"), [(2, 2, 3), (3, 6, 1)])
def test_a_lite_encoder_is_the_formula(high, updates, blocks):
    counts = full_size(high, updates, blocks)
    assert counts["encoder"] == encoder_flops_formula(
        LEVELS,
        key_aware=True,
        num_high_levels=high,
        num_high_updates=updates,
        num_blocks=blocks,
    )


def test_a_detector_of_another_kind_has_no_transformer():
    cfg = get_config("mmdet::retinanet/retinanet_r50_fpn_1x_coco.py")
    counts = count_flops(cfg, (64, 90))
    assert counts["input_shape"] == [64, 96]
    assert counts["encoder"] == counts["encoder_paper"] == counts["decoder"] == 0
    assert counts["tokens"] == 0
    assert counts["backbone"] > 0
    assert counts["neck"] > 0
    assert counts["head"] > 0
    assert counts["total"] == sum(counts[part] for part in PARTS)


def test_the_rest_names_what_runs_where():
    def run(self, image):
        return self.extra(self.bbox_head(self.box_head(image))) @ self.weight

    detector = Detector(
        run,
        box_head=nn.Linear(10, 4),
        bbox_head=nn.Linear(4, 5),
        extra=nn.Linear(5, 6),
        unused=nn.Linear(9, 9),
    )
    detector.weight = nn.Parameter(torch.zeros(6, 2))
    counts = count_model_flops(detector, (8, 10))
    assert counts["head"] == 24 * (10 * 4 + 4 * 5)
    assert counts["rest_by_module"] == {"extra": 24 * 5 * 6, "": 24 * 6 * 2}
    assert counts["rest"] == 24 * 5 * 6 + 24 * 6 * 2
    assert counts["total"] == counts["head"] + counts["rest"]


def test_weights_are_not_loaded(small_config, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a checkpoint was loaded")

    monkeypatch.setattr(CheckpointLoader, "load_checkpoint", refuse)
    cfg = small_config("lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py")
    cfg.model.backbone.init_cfg = {"type": "Pretrained", "checkpoint": "nowhere.pth"}
    cfg.model.init_cfg = {"type": "Pretrained", "checkpoint": "nowhere.pth"}
    assert count_flops(cfg, (64, 96))["total"] > 0


def test_an_unknown_operation_is_reported():
    counts = count_layer(nn.Identity(), lambda _, image: torch.fft.fft(image).abs())
    assert counts["uncounted"] == {"aten::fft_fft": 1}
    assert counts["total"] == 0


@pytest.mark.parametrize("shape", [(0, 10), (8, 10, 3), (8.5, 10)])
def test_an_image_shape_that_is_none_is_refused(shape):
    with pytest.raises(ConfigError, match=r"image_shape must be two positive"):
        count_layer(nn.Identity(), None, shape)


def test_a_detector_that_cannot_run_is_an_error():
    def run(layer, image):
        raise RuntimeError("needs a text")

    with pytest.raises(ConfigError, match=r"Detector cannot .* 8x10: .* needs a text"):
        count_layer(nn.Identity(), run)
    assert not dispatch._FORCED
    with pytest.raises(ConfigError, match="has no model"):
        count_flops(Config({}))
