"""Models, what is made of them, and others are timed side by side."""

import sys

import pytest
import torch
from torch import nn

from mmdet_lite.benchmark import models, subjects
from mmdet_lite.benchmark.rt_detr import RT_DETR, RTDetr
from mmdet_lite.deployment.runtime import DeploymentError
from mmdet_lite.errors import ConfigError
from mmdet_lite.ops.accelerate import mmcv_operator

CPU = torch.device("cpu")
CONFIG = "configs/lite_detr/lite-dino_h3l1-2p1x3_r18_1xb4-3e_digits.py"


def test_optimized_subjects_have_rows_of_their_own(repository, monkeypatch):
    norms = []
    build = subjects._inference

    def spy(model, *arguments):
        norms.append(any(isinstance(m, nn.BatchNorm2d) for m in model.modules()))
        return build(model, *arguments)

    monkeypatch.setattr(subjects, "_inference", spy)
    config = str(repository / CONFIG)
    with mmcv_operator(fast=False):  # Leaves mmcv as it was.
        rows = models.measure_models(
            *([config], "model", (64, 64), torch.device("cpu"), 1),
            optimized=[config],
        )
    name = "lite-dino_h3l1-2p1x3_r18_1xb4-3e_digits"
    assert [row["subject"] for row in rows] == [name, f"{name}, optimized"]
    assert [row["config"] for row in rows] == [config] * 2
    assert norms == [True, False]
    assert all(row["time"]["median"] > 0 for row in rows)


def test_bfloat16_is_that_of_the_tools(repository):
    # Its predictions are float32, or non-maximum suppression does not take them.
    config = str(repository / CONFIG)
    (row,) = models.measure_models([], "model", (64, 64), CPU, 1, bfloat16=[config])
    assert row["dtype"] == "bfloat16 autocast"
    assert row["peak_memory"] is None or row["peak_memory"] > 0


def test_a_cuda_graph_without_a_gpu_is_refused(repository):
    config = str(repository / CONFIG)
    with pytest.raises(ConfigError, match="CUDA graphs need a GPU"):
        models.measure_models([], "model", (64, 64), CPU, 1, graphed=[config])


def test_rt_detr_detects_as_the_others_do():
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    with torch.no_grad():
        model = RTDetr().eval()
        first, second = model(torch.randn(2, 3, 128, 160))
    for found in (first, second):
        assert found["boxes"].shape == (300, 4)
        assert 32 < found["boxes"][:, 2].max() < 320  # pixels
        assert (found["scores"].diff() <= 0).all()
        assert found["labels"].max() < 80
    assert not torch.equal(first["scores"], second["scores"])
    for shape in ((128, 150), (96, 128)):
        with pytest.raises(ConfigError, match=r"in multiples of 32 with at least 300"):
            model.require_shape(shape)


def test_rt_detr_has_a_row_that_names_its_package(monkeypatch):
    class Instant(nn.Module):
        def require_shape(self, image_shape):
            assert image_shape == (64, 96)

        def forward(self, pixels):
            assert pixels.shape == (1, 3, 64, 96)

    monkeypatch.setattr(subjects, "RTDetr", Instant)
    monkeypatch.setattr(models, "peak_memories", lambda builders, device: [None])
    (row,) = models.measure_models([RT_DETR], "model", (64, 96), CPU, 1)
    assert (row["subject"], row["package"]) == (RT_DETR, "transformers")


def test_rt_detr_without_its_package_and_in_parts_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"needs transformers: pip install"):
        models.measure_models([RT_DETR], "model", (64, 64), CPU, 1)
    with pytest.raises(ConfigError, match=r"rt-detr-r50 is timed whole"):
        models.measure_models([RT_DETR], "encoder", (64, 64), CPU, 1)
    with pytest.raises(
        ConfigError, match=r"--optimize and --graph are for detectors of mmdet"
    ):
        models.measure_models([], "model", (64, 64), CPU, 1, optimized=[RT_DETR])


class Echo:
    """Stands for a file that takes images of one size."""

    def __init__(self, path, runtime, threads):
        self.threads = threads

    def __call__(self, images):
        assert self.threads == torch.get_num_threads()
        if images.shape != (1, 3, 64, 64):
            raise DeploymentError("the file takes one image of 64×64")


def test_exported_files_have_a_row_for_each_runtime_that_runs_them(monkeypatch):
    monkeypatch.setattr(subjects, "load_detector", Echo)
    runtimes = ("onnxruntime", "openvino")
    rows = models.measure_models(
        *([], "model", (64, 64), CPU, 1),
        exported=["out/a.onnx", "b.pt2"],
        runtimes=runtimes,
    )
    assert [(row["subject"], row["package"]) for row in rows] == [
        ("a.onnx in onnxruntime", "onnxruntime"),
        ("a.onnx in openvino", "openvino"),
        ("b.pt2 in torch", None),
    ]
    assert all(row["peak_memory"] is None for row in rows)
    with pytest.raises(DeploymentError, match="takes one image of 64×64"):
        models.measure_models([], "model", (64, 96), CPU, 1, exported=["a.onnx"])
