"""The steps of pipelines are found wherever a config has them."""

from mmengine.config import ConfigDict

from mmdet_lite.datasets.pipelines import pipeline_steps

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
