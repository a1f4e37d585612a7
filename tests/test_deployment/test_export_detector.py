"""One call builds a detector and writes its file, or says why it does not."""

from copy import deepcopy

import pytest
import torch
from mmdet.registry import MODELS
from tiny import spread_scores, tiny_config

from mmdet_lite.deployment.export import export_detector
from mmdet_lite.deployment.runtime import load_detector
from mmdet_lite.errors import ConfigError


@pytest.fixture
def detector(small_config, tmp_path):
    """Config and weights of a small Lite-DINO."""
    torch.manual_seed(0)
    cfg = tiny_config(small_config, "LiteDINO")
    weights = spread_scores(MODELS.build(deepcopy(cfg.model))).state_dict()
    torch.save({"state_dict": weights, "meta": {}}, tmp_path / "weights.pth")
    return cfg, tmp_path / "weights.pth"


def test_a_program_exports_by_one_call(detector, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    path = tmp_path / "detector.onnx"
    _, description = export_detector(*detector, path, "onnx", shape=(96, 128))
    assert load_detector(path).description["shape"] == [96, 128]
    assert description.trace_shape == (96, 128)


@pytest.mark.parametrize(
    ("file_format", "name", "shape", "message"),
    [
        ("onnx", "a.pt2", None, r"of format onnx must end in \.onnx, but is .*a\.pt2"),
        ("torch", "a.onnx", None, r"of format torch must end in \.pt2, but is "),
        ("onnx", "a.onnx", (16, 64), r"at least 32 pixels high and wide.*\(16, 64\)"),
    ],
)
def test_what_does_not_fit_is_refused(
    detector, tmp_path, file_format, name, shape, message
):
    with pytest.raises(ConfigError, match=message):
        export_detector(*detector, tmp_path / name, file_format, shape)
    assert not (tmp_path / name).exists()


def test_images_of_too_few_tokens_fix_no_file_of_any_size(detector, tmp_path):
    cfg, weights = detector
    cfg.test_dataloader.dataset.pipeline[1].scale = (64, 64)
    cfg.model.num_queries = 100
    state = MODELS.build(deepcopy(cfg.model)).state_dict()
    torch.save({"state_dict": state, "meta": {}}, weights)
    with pytest.raises(ConfigError, match=r"64×64, .* have 85 tokens .* its 100 q"):
        export_detector(cfg, weights, tmp_path / "a.onnx", "onnx")
