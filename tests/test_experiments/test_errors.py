"""Each kind of error is told from the others, on boxes made by hand."""

import json

import pytest
from mmdet.evaluation import CocoMetric
from mmengine.config import Config

from mmdet_lite.cli import read_config
from mmdet_lite.errors import ConfigError
from mmdet_lite.experiments import errors
from mmdet_lite.experiments.errors import break_down, measure_errors

BOX, OTHER, FAR = [10, 10, 20, 20], [50, 50, 20, 20], [80, 10, 15, 15]


@pytest.fixture
def errors_of(tmp_path):
    pytest.importorskip("tidecv")

    def errors_of(*detections):
        """Of detections (box, class, score), where BOX and OTHER are cats."""
        truth = {
            "images": [{"id": 7, "file_name": "7.png", "width": 99, "height": 99}],
            "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
            "annotations": [
                {"id": number, "image_id": 7, "category_id": 1, "bbox": box, "area": 1}
                for number, box in enumerate((BOX, OTHER), 1)
            ],
        }
        results = [
            {"image_id": 7, "category_id": category, "bbox": box, "score": score}
            for box, category, score in detections
        ]
        (tmp_path / "truth.json").write_text(json.dumps(truth))
        (tmp_path / "results.json").write_text(json.dumps(results))
        return break_down(tmp_path / "truth.json", tmp_path / "results.json")

    return errors_of


def test_right_predictions_have_no_errors(errors_of):
    errors = errors_of((BOX, 1, 0.9), (OTHER, 1, 0.8))
    assert errors["AP50"] == pytest.approx(100)
    assert errors["objects"] == 2
    assert not any(errors["count"].values())
    assert not any(errors["cost"].values())


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("Dupe", (BOX, 1, 0.85)),
        ("Bkg", (FAR, 1, 0.85)),
        ("Loc", ([22, 10, 20, 20], 1, 0.85)),
        ("Cls", (BOX, 2, 0.85)),
    ],
)
def test_one_wrong_prediction_is_one_error_of_its_kind(errors_of, kind, wrong):
    errors = errors_of((BOX, 1, 0.9), wrong, (OTHER, 1, 0.8))
    counts = dict.fromkeys(("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss"), 0)
    assert errors["count"] == {**counts, kind: 1}
    assert errors["cost"][kind] > 10


def test_an_object_without_a_box_near_it_is_missed(errors_of):
    errors = errors_of((BOX, 1, 0.9))
    assert errors["count"]["Miss"] == 1
    assert errors["cost"]["Miss"] == pytest.approx(100 - errors["AP50"], abs=0.01)
    assert errors["cost"]["FalseNeg"] == errors["cost"]["Miss"]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("VOCMetric", "must be one CocoMetric"),
        ("mmdet.CocoMetric", "goes on"),
        (CocoMetric, "goes on"),
    ],
)
def test_only_cocos_evaluator_is_taken(repository, monkeypatch, kind, message):
    def go_on(cfg, whole):
        raise ConfigError("goes on")

    monkeypatch.setattr(errors, "check_fit", go_on)
    monkeypatch.setattr(errors, "_tide", lambda: None)
    name = "lite-dino_h3l1-2p1x3_r18_1xb4-3e_digits.py"
    path = str(repository / "configs" / "lite_detr" / name)
    cfg = read_config(path, {"test_evaluator.type": kind})
    with pytest.raises(ConfigError, match=message):
        measure_errors(cfg, "none.pth")


def test_a_config_without_a_test_set_is_refused(monkeypatch):
    monkeypatch.setattr(errors, "_tide", lambda: None)
    with pytest.raises(ConfigError, match="has no test set"):
        measure_errors(Config({"test_evaluator": None}), "none.pth")
