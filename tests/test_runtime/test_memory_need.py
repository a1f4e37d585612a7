"""What an image will take is known before the model takes it."""

from copy import deepcopy

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.model import BaseModel

from mmdet_lite.runtime import memory_need, warn_of_large_images
from mmdet_lite.runtime.packed_linear import pack_linear_layers


def batch(height, width):
    shape = (height, width)
    meta = dict.fromkeys(("img_shape", "ori_shape", "batch_input_shape"), shape)
    sample = DetDataSample(metainfo={**meta, "scale_factor": (1.0, 1.0)})
    return torch.zeros(1, 3, height, width), [sample]


class Tensors(BaseModel):
    """Holds two copies of the images at a time at most, and 4 MiB for a moment."""

    def forward(self, inputs, data_samples, mode):
        torch.zeros(2**20)
        first = inputs + 1
        second = first + 1
        first.add_(1)
        del first
        return second.view(-1) + 1


def test_the_peak_is_that_of_what_is_held_at_a_time():
    for side, held in ((64, 2**22), (1024, 2 * 12 * 1024**2)):
        need = memory_need.memory_need(Tensors(), *batch(side, side))
        assert need == held + 12 * side**2


@pytest.fixture(scope="module")
def detector(small_config):
    cfg = small_config("lite-dino_h3l1-2p1x3_r18_1xb4-3e_digits.py")
    return MODELS.build(cfg.model).eval()


def test_a_detector_takes_what_was_said(detector):
    need = memory_need.memory_need(detector, *batch(384, 640))
    inputs, samples = batch(384, 640)
    with torch.no_grad(), memory_need._HeldTensors() as held:
        detector(inputs, samples, mode="predict")
    assert need - inputs.nbytes == pytest.approx(max(held.over_time), rel=0.1)


def test_large_images_are_warned_of_once(detector, capsys, monkeypatch):
    monkeypatch.setattr(memory_need, "USUAL_PIXELS", 64 * 64)
    monkeypatch.setattr(memory_need, "_SIDES", (32, 64))
    warn_of_large_images(detector)
    for size, lines in (((64, 64), 0), ((96, 64), 1), ((64, 96), 0), ((96, 128), 1)):
        with torch.no_grad():
            detector(*batch(*size), mode="predict")
        said = capsys.readouterr().err.splitlines()
        assert len(said) == lines
        assert all(f"an image of {size[0]}×{size[1]} pixels" in line for line in said)


def test_a_model_that_refuses_small_images_is_run_all_the_same(
    detector, capsys, monkeypatch
):
    def fail(*args):
        raise RuntimeError("selected index k out of range")

    monkeypatch.setattr(memory_need, "USUAL_PIXELS", 64 * 64)
    monkeypatch.setattr(memory_need, "memory_need", fail)
    model = deepcopy(detector)
    warn_of_large_images(model)
    with torch.no_grad():
        assert len(model(*batch(96, 96), mode="predict")) == 1
    assert "cannot be told (RuntimeError on small images)" in capsys.readouterr().err


def test_packed_weights_do_not_count_and_do_not_stop_it(small_config):
    cfg = small_config("lite-dino_h3l1-2p1x3_r18_1xb4-3e_digits.py")
    model = MODELS.build(cfg.model).eval()
    plain = memory_need.memory_need(model, *batch(384, 640))
    pack_linear_layers(model)
    need = memory_need.memory_need(model, *batch(384, 640))
    assert need == pytest.approx(plain, rel=0.2)
