"""A detector is loaded whole, or not at all."""

from copy import deepcopy

import pytest
import torch
from mmdet.registry import MODELS

from mmdet_lite.checkpoint.detector import load_detector
from mmdet_lite.errors import ConfigError

PLAIN = "MultiScaleDeformableAttention"


@pytest.fixture
def config(small_config):
    """Lite-DINO with an encoder of two layers and a decoder of one."""
    cfg = small_config("lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py")
    cfg.model.encoder.update(num_layers=2, num_blocks=1)
    cfg.model.decoder.num_layers = 1
    return cfg


@pytest.fixture
def checkpoint(config, tmp_path):
    """Its weights, with the classes that it was trained on."""
    path = tmp_path / "weights.pth"
    meta = {"dataset_meta": {"classes": ("cat", "dog")}}
    state_dict = MODELS.build(deepcopy(config.model)).state_dict()
    torch.save({"meta": meta, "state_dict": state_dict}, path)
    return path


def test_weights_classes_and_config_are_taken(config, checkpoint):
    model = load_detector(config, checkpoint)
    expected = torch.load(checkpoint)["state_dict"]
    # Of what is not initialised a number may be NaN.
    torch.testing.assert_close(
        dict(model.state_dict()), dict(expected), rtol=0, atol=0, equal_nan=True
    )
    assert model.dataset_meta["classes"] == ("cat", "dog")
    assert model.cfg is config
    assert not model.training


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.decoder.num_layers": 2}, "they lack 30 tensors, bbox_head"),
        ({"model.bbox_head.num_classes": 3}, "size mismatch for .*cls_branches"),
        (
            {"model.encoder.layer_cfg.self_attn_cfg.type": PLAIN},
            "key-aware deformable attention, but the model's attention is plain",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(config, checkpoint, change, message):
    config.merge_from_dict(change)
    with pytest.raises(ConfigError, match=message) as error:
        load_detector(config, checkpoint)
    assert "\n" not in str(error.value)


def test_weights_of_more_than_the_model_are_refused(config, checkpoint):
    content = torch.load(checkpoint)
    content["state_dict"]["neck.extra.weight"] = torch.zeros(1)
    torch.save(content, checkpoint)
    with pytest.raises(ConfigError, match="have besides 1 tensors, neck"):
        load_detector(config, checkpoint)
