"""A model is built without the weights that its config starts from."""

import pytest
from mmengine.config import ConfigDict
from mmengine.model import PretrainedInit

from mmdet_lite.model_config import without_pretrained_weights

NORMAL = {"type": "Normal", "std": 0.01}


@pytest.mark.parametrize(
    "kind",
    [
        "Pretrained",
        "mmengine.Pretrained",
        "mmengine.model.weight_init.PretrainedInit",
        PretrainedInit,
    ],
)
def test_weights_are_not_asked_for_however_they_are(kind):
    loads = {"type": kind, "checkpoint": "nowhere.pth"}
    cfg = ConfigDict(
        backbone={"init_cfg": loads},
        neck=[{"init_cfg": [NORMAL, loads]}],
        head=({"init_cfg": [loads]},),
    )
    before = cfg.to_dict()
    plain = without_pretrained_weights(cfg)
    assert plain.to_dict() == {
        "backbone": {"init_cfg": None},
        "neck": [{"init_cfg": [NORMAL]}],
        "head": ({"init_cfg": None},),
    }
    assert cfg.to_dict() == before


def test_other_initialisations_stay():
    cfg = {"a": {"init_cfg": NORMAL}, "b": {"init_cfg": []}, "c": {"init_cfg": None}}
    assert without_pretrained_weights(cfg) == cfg


def test_pretrained_is_of_the_kind_that_it_was():
    cfg = {"a": [{"pretrained": True}, {"pretrained": "file", "b": 1}]}
    assert without_pretrained_weights(cfg) == {
        "a": [{"pretrained": False}, {"pretrained": None, "b": 1}]
    }
