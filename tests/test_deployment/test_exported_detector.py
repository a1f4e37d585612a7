"""An exported file is tested as its checkpoint is: same AP, and latency beside it."""

import json
import pickle

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from python_process import run_python
from tiny import spread_scores

from mmdet_lite.deployment import exported_detector
from mmdet_lite.deployment.description import describe
from mmdet_lite.deployment.module import DetectorModule
from mmdet_lite.deployment.onnx_file import export_onnx
from mmdet_lite.deployment.runtime import Detector
from mmdet_lite.deployment.verify import compare
from mmdet_lite.errors import ConfigError

DIGITS = tuple("0123456789")


@pytest.fixture(scope="module")
def folder(small_config, digits_root, tmp_path_factory):
    """Config, checkpoint and ONNX file of a small detector of digits."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIGITS_ROOT", str(digits_root))
        cfg = small_config("lite-dino_h3l1-2p1x3_r18_1xb4-3e_digits.py")
    cfg.merge_from_dict(
        {
            "model.decoder.num_layers": 1,
            "model.encoder.num_layers": 2,
            "model.encoder.num_high_updates": 2,
            "model.encoder.num_blocks": 1,
            "test_dataloader.num_workers": 0,
            "test_dataloader.persistent_workers": False,
            "test_dataloader.batch_size": 2,
            # Boxes go back to images of another size.
            "test_dataloader.dataset.pipeline.1.scale": (96, 96),
        }
    )
    cfg.dump(folder / "config.py")
    torch.manual_seed(0)
    model = spread_scores(MODELS.build(cfg.model))
    meta = {"dataset_meta": {"classes": DIGITS}}
    torch.save({"state_dict": model.state_dict(), "meta": meta}, folder / "weights.pth")
    description = describe(cfg, meta, None)
    module = DetectorModule(model)
    export_onnx(module, folder / "open.onnx", (96, 96), description, 16)
    return folder


@pytest.fixture
def run_test(repository, folder, tmp_path):
    """Function that calls tools/test.py with a file of the folder."""

    def run(file, *arguments):
        work_dir = tmp_path / file
        result = run_python(
            *("tools/test.py", folder / "config.py", folder / file),
            *("--work-dir", work_dir, *arguments),
            cwd=repository,
            env={"PATH": "/usr/bin:/bin"},
        )
        metrics = [
            json.loads(path.read_text())
            for path in work_dir.glob("*/*.json")
            if path.parent.name != "vis_data"
        ]
        return result, metrics

    return run


def test_a_file_has_the_predictions_and_the_ap_of_its_checkpoint(run_test, tmp_path):
    metrics, images = [], []
    for name in ("weights.pth", "open.onnx"):
        result, (found,) = run_test(name, "--out", tmp_path / "found.pkl")
        assert result.returncode == 0, result.stderr[-3000:]
        metrics.append({k: v for k, v in found.items() if k.startswith("coco/")})
        images.append(pickle.loads((tmp_path / "found.pkl").read_bytes()))
    assert metrics[1] == pytest.approx(metrics[0], abs=1e-3)
    # Of random weights AP says little.
    comparisons = [compare(*map(arrays_of, pair)) for pair in zip(*images, strict=True)]
    assert len(comparisons) == 4
    assert all(each.passed for each in comparisons), comparisons
    assert sum(each.objects for each in comparisons) > 4


def arrays_of(image):
    """Boxes, scores and labels of what --out wrote."""
    found = image["pred_instances"]
    return tuple(found[name].numpy() for name in ("bboxes", "scores", "labels"))


def test_what_makes_no_sense_is_refused_in_one_line(run_test, folder):
    for flag in ("--amp", "--optimize", "--tta"):
        result, _ = run_test("open.onnx", flag)
        assert result.returncode == 2
        assert result.stderr.splitlines()[-1].startswith(f"error: {flag} changes a mo")
    result, _ = run_test("weights.pth", "--runtime", "onnxruntime")
    assert result.returncode == 2
    assert "error: --runtime runs exported files, .onnx and .pt2" in result.stderr
    result, _ = run_test("open.onnx", "--runtime", "torch")
    assert result.returncode == 2
    assert "error: torch does not run .onnx files: onnxruntime" in result.stderr
    assert "Traceback" not in result.stderr


class TwoObjects(Detector):
    """Finds the right half of every image, and one that NMS removed."""

    def __init__(self, classes):
        self.description = {"classes": classes, "shape": None}

    def run(self, images):
        height, width = images.shape[2:]
        box = [width / 2, 0, width, height]
        return (
            np.array([[box, box]], dtype=np.float32),
            np.array([[0.75, 0]], dtype=np.float32),
            np.array([[3, 0]]),
        )


@pytest.fixture
def stub_detector(monkeypatch):
    """ExportedDetector around a file that finds two objects."""

    def build(own=("a", "b"), classes=None):
        monkeypatch.setattr(
            exported_detector, "load_detector", lambda *_: TwoObjects(own)
        )
        return exported_detector.ExportedDetector("file.onnx", classes=classes)

    return build


def test_boxes_are_those_before_resizing_of_images_of_any_size(stub_detector):
    data = {
        "inputs": [
            torch.zeros(3, *shape, dtype=torch.uint8) for shape in ((24, 32), (40, 20))
        ],
        "data_samples": [
            DetDataSample(metainfo={"scale_factor": factor})
            for factor in ((0.5, 0.25), (2, 2))
        ],
    }
    first, second = stub_detector().test_step(data)
    assert first.pred_instances.bboxes.tolist() == [[32, 0, 64, 96]]
    assert first.pred_instances.labels.tolist() == [3]
    assert first.pred_instances.scores.tolist() == [0.75]
    assert second.pred_instances.bboxes.tolist() == [[5, 0, 10, 20]]
    assert second.batch_input_shape == (40, 20)


def test_other_classes_and_other_pixels_are_refused(stub_detector):
    stub_detector(own=(), classes=("a",))  # A file may know no names.
    with pytest.raises(ConfigError, match=r"detects a, b, but the test set has b, a$"):
        stub_detector(classes=("b", "a"))
    data = {"inputs": [torch.zeros(3, 8, 8)], "data_samples": [DetDataSample()]}
    with pytest.raises(ConfigError, match=r"takes uint8 pixels.* are float32$"):
        stub_detector().test_step(data)
