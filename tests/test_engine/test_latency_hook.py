"""A test tells how long the model took, and nothing else."""

import logging
import time
from types import SimpleNamespace

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.model import BaseModel
from torch import nn

from mmdet_lite.engine import LatencyHook
from mmdet_lite.runtime import memory_need, warn_of_large_images


class Sleeper(nn.Module):
    """Takes a time of its own for each batch, and memory."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def test_step(self, data):
        time.sleep(data["seconds"])
        torch.ones(25_000_000)
        sample = DetDataSample(metainfo={"batch_input_shape": data["shape"]})
        return [sample] * data["images"]


class SlowOnTrial(BaseModel):
    """Takes most time and memory for the images that it is only tried on."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.trials = 0

    def forward(self, inputs, data_samples, mode):
        if inputs.shape[-1] in memory_need._SIDES:
            self.trials += 1
            time.sleep(0.5)
            torch.ones(100_000_000)
        return data_samples

    def test_step(self, data):
        return self(**data, mode="predict")


@pytest.fixture
def test_with(caplog):
    """Function that runs a test of given batches; its metrics and its last line."""

    def run(batches, model=None, **options):
        hook = LatencyHook(**options)
        logger = logging.getLogger("latency of tests")
        runner = SimpleNamespace(model=model or Sleeper(), logger=logger)
        metrics = {"coco/bbox_mAP": 0.5}
        with caplog.at_level("INFO", logger.name):
            hook.before_test_epoch(runner)
            for batch in batches:
                runner.model.test_step(batch)
                time.sleep(0.05)  # Reading, drawing and evaluation.
            hook.after_test_epoch(runner, metrics)
            hook.after_test(runner)
        assert "test_step" not in vars(runner.model)
        return metrics, caplog.messages[-1]

    return run


def batch(seconds, images=1, shape=(96, 128)):
    return {"seconds": seconds, "images": images, "shape": shape}


def test_warm_up_and_what_is_around_the_model_do_not_count(test_with):
    slow, quick = batch(0.5), batch(0.04, images=2)
    metrics, line = test_with([slow, quick, batch(0.04, 2, (128, 160))], warmup=1)
    assert metrics["coco/bbox_mAP"] == 0.5
    # A machine shared with others may be late, but not by a batch of warm-up.
    assert 20 <= metrics["latency/median_ms"] < 200
    assert metrics["latency/p90_ms"] >= metrics["latency/median_ms"]
    assert 5 < metrics["latency/images_per_second"] <= 50
    assert metrics.get("latency/peak_memory_mb", 101) > 100
    assert "4 images in batches of 2, padded to 96×128 up to 128×160" in line
    assert f"{torch.get_num_threads()} threads" in line


def test_too_few_batches_are_said_to_be_too_few(test_with):
    metrics, line = test_with([batch(0)] * 3)
    assert metrics == {"coco/bbox_mAP": 0.5}
    assert line.startswith("latency: not measured, 3 batches")


def test_what_is_tried_to_tell_memory_does_not_count(test_with, monkeypatch, capsys):
    monkeypatch.setattr(memory_need, "USUAL_PIXELS", 64 * 64)
    monkeypatch.setattr(memory_need, "_SIDES", (32, 64))
    images = torch.zeros(1, 1, 96, 96)
    large = {"inputs": images, "data_samples": [DetDataSample()]}
    model = SlowOnTrial()
    usual, _ = test_with([large], model, warmup=0)
    warn_of_large_images(model)
    warned, _ = test_with([large], model, warmup=0)
    assert "an image of 96×96 pixels" in capsys.readouterr().err
    assert model.trials == 2
    assert warned["latency/median_ms"] < 500
    peak = "latency/peak_memory_mb"
    if peak in usual:
        assert warned[peak] < usual[peak] + 200
