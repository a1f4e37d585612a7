"""Every config of the repository builds what its name says."""

import re

import pytest
from conftest import REPOSITORY
from mmdet.registry import MODELS
from mmengine.config import Config

CONFIGS = sorted((REPOSITORY / "configs" / "lite_detr").glob("*.py"))


def build(path):
    cfg = Config.fromfile(path)
    # Pretrained weights would be downloaded; their absence changes no shape.
    cfg.model.backbone.init_cfg = None
    return cfg, MODELS.build(cfg.model)


def test_there_are_configs():
    assert CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_builds_the_encoder_of_its_name(path):
    cfg, model = build(path)
    high, low, updates, blocks = map(
        int, re.search(r"_h(\d)l(\d)-(\d)p1x(\d)_", path.stem).groups()
    )
    assert model.encoder.num_high_levels == high
    assert high + low == model.num_feature_levels
    assert model.encoder.layer_kinds == ("H" * (updates - 1) + "F") * blocks
    num_gpus, batch, epochs = map(
        int, re.search(r"_(\d+)xb(\d+)-(\d+)e_", path.stem).groups()
    )
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.auto_scale_lr.base_batch_size == num_gpus * batch
    assert cfg.train_cfg.max_epochs == epochs
    assert cfg.default_scope == "mmdet"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_importing_a_config_registers_the_package(path):
    assert Config.fromfile(path).custom_imports == {
        "imports": ["mmdet_lite"],
        "allow_failed_imports": False,
    }
