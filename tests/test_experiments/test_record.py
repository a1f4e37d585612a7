"""What a training left is put together, whatever way its config is written."""

import json

import pytest

from mmdet_lite.errors import ConfigError
from mmdet_lite.experiments import record
from mmdet_lite.experiments.grid import Cell

COUNTS = {"total": 3e9, "encoder": 2e9, "params": 7}


@pytest.fixture
def record_with(repository, tmp_path, monkeypatch):
    """Function that gives the record of a run with a step in its test pipeline."""
    logs = tmp_path / "20260101_000000" / "vis_data"
    logs.mkdir(parents=True)
    line = {record.METRICS["AP"]: 0.5, "step": 1}
    (logs / "scalars.json").write_text(json.dumps(line))
    monkeypatch.setattr(record, "count_flops", lambda cfg, image_shape: COUNTS)
    name = "lite-dino_h3l1-2p1x3_r18_1xb4-3e_digits.py"
    config = str(repository / "configs" / "lite_detr" / name)

    def record_with(step):
        options = {"val_dataloader.dataset.pipeline": [step]}
        cell = Cell("lite", "digits", 0, config, options)
        part = {"seconds": 1, "peak_memory": 1, "environment": {"threads": 1}}
        return record.record_of(cell, tmp_path, [part])

    return record_with


@pytest.mark.parametrize(
    "step",
    [
        {"type": "mmdet.Resize", "scale": (640, 480)},
        {"type": "RandomChoice", "transforms": [[{"type": "Resize", "scale": 99}]]},
    ],
)
def test_the_size_of_the_images_is_found(record_with, step):
    shape = [480, 640] if "scale" in step else [99, 99]
    assert record_with(step)["image_shape"] == shape


def test_images_that_are_not_resized_are_refused(record_with):
    with pytest.raises(ConfigError, match="pipeline resizes the images"):
        record_with({"type": "LoadImageFromFile"})
