"""What a detector predicts under autocast is float32, and as precise."""

import platform
import warnings

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs

from mmdet_lite.runtime import (
    has_bfloat16_instructions,
    mixed_precision,
    predict_in_float32,
    warn_of_slow_autocast,
)


def test_boxes_and_scores_are_not_rounded_to_bfloat16(small_config):
    torch.manual_seed(0)
    model = MODELS.build(
        small_config("lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py").model
    ).eval()
    predict_in_float32(model)
    data = model.data_preprocessor(demo_mm_inputs(1, [[3, 96, 128]]), False)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        sample = model(**data, mode="predict")[0]
    for numbers in (sample.pred_instances.bboxes, sample.pred_instances.scores):
        assert numbers.dtype == torch.float32
        representable = numbers.bfloat16().float() == numbers
        assert representable.float().mean() < 0.5


def test_grounding_dino_predicts_under_autocast(small_config):
    """Its class branches take image, text and the text's mask."""
    torch.manual_seed(0)
    config = "mmdet::grounding_dino/grounding_dino_r50_scratch_8xb2_1x_coco.py"
    cfg = small_config(config).model
    model = MODELS.build({**cfg, "type": "LiteGroundingDINO"}).eval()
    predict_in_float32(model)
    data = demo_mm_inputs(1, [[3, 96, 128]])
    data["data_samples"][0].set_metainfo({"text": ("cat", "dog")})
    data = model.data_preprocessor(data, False)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        sample = model(**data, mode="predict")[0]
    scores = sample.pred_instances.scores
    assert scores.dtype == torch.float32
    assert (scores.bfloat16().float() == scores).float().mean() < 0.5


@pytest.mark.parametrize("expected", [False, True])
@pytest.mark.parametrize("asked", ["get_capabilities", "_is_avx512_bf16_supported"])
def test_every_torch_tells_of_bfloat16(monkeypatch, asked, expected):
    """What is asked has changed its name."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    functions = {
        "get_capabilities": lambda: {"avx512_bf16": expected},
        "_is_avx512_bf16_supported": lambda: expected,
    }
    for name in functions:
        monkeypatch.delattr(torch.cpu, name, raising=False)
    monkeypatch.setattr(torch.cpu, asked, functions[asked], raising=False)
    assert mixed_precision.has_bfloat16_instructions() is expected


def test_slow_bfloat16_is_told(monkeypatch):
    monkeypatch.setattr(mixed_precision, "has_bfloat16_instructions", lambda: False)
    with pytest.warns(UserWarning, match="several times slower than float32"):
        warn_of_slow_autocast("cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_slow_autocast("cuda")


@pytest.mark.skipif(
    not has_bfloat16_instructions(), reason="this processor emulates bfloat16"
)
def test_fast_bfloat16_is_not():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_slow_autocast("cpu")
