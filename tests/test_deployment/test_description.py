"""A file says how images get to it, or is not written."""

import pytest
from mmengine.config import Config

from mmdet_lite.deployment.description import KEY, describe
from mmdet_lite.detectors import LiteDINO
from mmdet_lite.errors import ConfigError


def config_of(*steps, **dataset):
    pipeline = [{"type": "LoadImageFromFile"}, *steps, {"type": "PackDetInputs"}]
    dataset = {"type": "CocoDataset", "ann_file": "a.json", **dataset}
    return Config(
        {
            "model": {"type": "LiteDINO"},
            "test_dataloader": {"dataset": {**dataset, "pipeline": pipeline}},
        }
    )


@pytest.mark.parametrize(
    ("step", "scale", "keep_ratio"),
    [
        ({"type": "Resize", "scale": (1333, 800), "keep_ratio": True}, (1333, 800), 1),
        ({"type": "mmdet.Resize", "scale": [320, 240]}, (320, 240), 0),
        ({"type": "Resize", "scale": 320}, (320, 320), 0),
    ],
)
def test_resizing_is_said(step, scale, keep_ratio):
    description = describe(config_of(step), {}, None)
    assert (description.scale, description.keep_ratio) == (scale, keep_ratio)


@pytest.mark.parametrize("kind", ["LiteDINO", "mmdet.LiteDINO", LiteDINO])
def test_the_detector_has_one_name_however_it_is_written(kind):
    cfg = config_of()
    cfg.model.type = kind
    assert '"model": "LiteDINO"' in describe(cfg, {}, None).metadata()[KEY]


def test_images_may_come_as_they_are():
    assert describe(config_of(), {}, None).scale is None
    assert describe(config_of(), {}, None).batch is None
    assert describe(config_of(), {}, (96, 128)).batch == 1
    assert describe(config_of(), {}, (96, 128), 4).batch == 4
    assert describe(Config({"model": {"type": "DINO"}}), {}, None).classes == ()


@pytest.mark.parametrize(
    "step",
    [
        {"type": "Resize", "scale_factor": 0.5},
        {"type": "Resize", "scale": (9, 9), "interpolation": "nearest"},
        {"type": "Resize", "scale": (9, 9), "backend": "pillow"},
        {"type": "FixShapeResize", "width": 9, "height": 9},
        {"type": "ResizeShortestEdge", "scale": 9},
        {"type": "Pad", "size": (640, 640)},
    ],
)
def test_what_a_file_cannot_say_is_refused(step):
    with pytest.raises(ConfigError, match=f"pipeline has {step['type']} with"):
        describe(config_of(step), {}, None)


def test_only_one_resizing_is_known():
    step = {"type": "Resize", "scale": (9, 9)}
    with pytest.raises(ConfigError, match="by one Resize"):
        describe(config_of(step, step), {}, None)


def test_classes_are_those_of_the_checkpoint_or_the_data():
    meta = {"dataset_meta": {"classes": ("a", "b")}}
    named = config_of(metainfo={"classes": ("cell",)})
    assert describe(named, meta, None).classes == ("a", "b")
    assert describe(named, {}, None).classes == ("cell",)
    assert describe(config_of(metainfo={"classes": "cell"}), {}, None).classes == (
        "cell",
    )
    assert len(describe(config_of(), {}, None).classes) == 80
    dataset = named.test_dataloader.dataset
    pipeline = dataset.pop("pipeline")
    named.test_dataloader.dataset = {
        "type": "RepeatDataset",
        "dataset": dataset,
        "times": 1,
        "pipeline": pipeline,
    }
    assert describe(named, {}, None).classes == ("cell",)
