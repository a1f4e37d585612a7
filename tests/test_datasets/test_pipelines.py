"""The steps of pipelines are found, and the size that they resize to."""

import pytest
from mmengine.config import ConfigDict

from mmdet_lite.datasets.pipelines import pipeline_steps, resized_to
from mmdet_lite.errors import ConfigError

PIPELINE = [
    {"type": "LoadImageFromFile", "backend_args": {"backend": "local"}},
    {"type": "RandomChoice", "transforms": [[{"type": "Resize"}], [{"type": "Pad"}]]},
    {"type": "Albu", "transforms": [{"type": "Blur"}], "keymap": {"type": "none"}},
    {"type": "MultiBranch", "sup": [{"type": "RandomFlip"}], "unsup": {"type": "Pack"}},
]
KINDS = [
    *("LoadImageFromFile", "RandomChoice", "Resize", "Pad", "Albu"),
    *("MultiBranch", "RandomFlip", "Pack"),
]


def kinds(*args):
    return [step.type for step in pipeline_steps(*args)]


def test_steps_inside_of_choices_and_branches_are_found():
    cfg = ConfigDict(pipeline=PIPELINE)
    assert kinds(cfg.pipeline) == KINDS
    assert kinds(cfg.pipeline[2]) == ["Albu"]
    assert kinds(None) == []


def test_pipelines_of_a_name_are_found_however_deep():
    dataset = {"type": "CocoDataset", "pipeline": PIPELINE}
    joined = {"type": "ConcatDataset", "datasets": [dataset, dataset]}
    mixed = ConfigDict(
        dataset={
            "type": "MultiImageMixDataset",
            "dataset": joined,
            "pipeline": {"type": "Mosaic"},
        }
    )
    assert kinds(mixed, "pipeline") == [*KINDS, *KINDS, "Mosaic"]
    assert kinds(mixed, "tta_pipeline") == []


@pytest.mark.parametrize(
    ("step", "size"),
    [
        ({"type": "Resize", "scale": (1333, 800), "keep_ratio": True}, (1333, 800)),
        ({"type": "mmdet.Resize", "scale": [320, 240]}, (320, 240)),
        ({"type": "Resize", "scale": 320}, (320, 320)),
        ({"type": "ResizeShortestEdge", "scale": 800, "max_size": 1333}, (1333, 800)),
        ({"type": "Resize", "scale_factor": 0.5}, None),
        ({"type": "InstaBoost", "scale": (0.8, 1.2)}, None),
    ],
)
def test_images_are_resized_by_the_first_step_that_has_a_size(step, size):
    later = {"type": "Pad", "scale": (7, 9)}
    assert resized_to([ConfigDict(type="LoadImageFromFile"), ConfigDict(step)]) == size
    assert resized_to([step, later]) == (size or (7, 9))


@pytest.mark.parametrize(
    "scale", [0.5, (0.5, 1), [(640, 480), (320, 240)], "x", (1, 2, 3)]
)
def test_a_size_that_is_none_is_refused(scale):
    with pytest.raises(ConfigError, match="scale of Resize in a test pipeline should"):
        resized_to([{"type": "Resize", "scale": scale}])
