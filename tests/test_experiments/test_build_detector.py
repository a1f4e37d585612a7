"""A detector to look at has the weights of its checkpoint, or those it starts from."""

import pytest
import torch

from mmdet_lite.errors import ConfigError
from mmdet_lite.experiments.detector import build_detector

CONFIG = "lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py"


@pytest.fixture(scope="module")
def model_cfg(small_config):
    return small_config(CONFIG).model


def test_a_checkpoint_needs_no_pretrained_weights(model_cfg, tmp_path):
    saved = build_detector(model_cfg, None, seed=0).state_dict()
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": saved}, path)
    cfg = model_cfg.copy()
    cfg.backbone = {
        **cfg.backbone,
        "init_cfg": {"type": "Pretrained", "checkpoint": "nowhere.pth"},
    }
    loaded = build_detector(cfg, str(path), seed=1).state_dict()
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(loaded[name], saved[name]) for name in saved)
    with pytest.raises(ConfigError, match="nowhere"):
        build_detector(cfg, None, seed=1)


def test_a_detector_is_checked_before_its_checkpoint_is_read(model_cfg):
    def refuse(detector):
        raise ConfigError(f"no {type(detector).__name__}")

    with pytest.raises(ConfigError, match="no LiteDINO"):
        build_detector(model_cfg, "nowhere.pth", 0, refuse)
