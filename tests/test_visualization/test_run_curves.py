"""What a training left becomes curves, and what it did not leave is said."""

import json

import cv2
import numpy as np
import pytest

from mmdet_lite.errors import ConfigError
from mmdet_lite.visualization.run_curves import plot_run, precision_by_recall


@pytest.fixture
def run(tmp_path):
    """A run of two epochs on two images, in the files that mmengine and mmdet write."""
    boxes = [[0, 0, 10, 10], [20, 0, 10, 10]]
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 3, "bbox": boxes[0]},
        {"id": 2, "image_id": 2, "category_id": 3, "bbox": boxes[1]},
    ]
    for row in annotations:
        row.update(area=100, iscrowd=0)
    content = {
        "images": [{"id": index, "height": 40, "width": 40} for index in (1, 2)],
        "categories": [{"id": 3, "name": "cell"}, {"id": 5, "name": "absent"}],
        "annotations": annotations,
    }
    (tmp_path / "val.json").write_text(json.dumps(content))
    logs = tmp_path / "run" / "20260101_000000" / "vis_data"
    logs.mkdir(parents=True)
    (logs / "config.py").write_text(
        f"test_evaluator = dict(type='CocoMetric', ann_file='{tmp_path}/val.json')\n"
    )
    sizes = ("", "_50", "_75", "_s", "_m", "_l")
    lines = [{"loss": 5.0, "step": 1}, {"loss": 4.0, "step": 2}]
    lines += [
        {f"coco/bbox_mAP{size}": 0.1 * step for size in sizes} | {"step": step}
        for step in (1, 2)
    ]
    (logs / "scalars.json").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path / "run"


def write_detections(run, *rows):
    detections = [
        {"image_id": image, "category_id": 3, "bbox": box, "score": score}
        for image, box, score in rows
    ]
    (run / "results.bbox.json").write_text(json.dumps(detections))
    return run / "results.bbox.json"


def test_precision_is_what_the_order_of_scores_makes_it(run):
    """Right, wrong, right: all of precision to half of recall, then two of three."""
    results = write_detections(
        run,
        (1, [0, 0, 10, 10], 0.9),
        (1, [0, 20, 10, 10], 0.8),
        (2, [20, 0, 10, 8], 0.7),  # IoU 0.8
    )
    curves = precision_by_recall(run, results)
    assert set(curves) == {"cell", "mean, IoU 0.5", "mean, IoU 0.75"}
    expected = np.where(np.arange(101) <= 50, 1, 2 / 3)
    for curve in curves.values():
        np.testing.assert_allclose(curve, expected)


def test_classes_that_the_model_does_not_know_do_not_count(run, tmp_path):
    content = json.loads((tmp_path / "val.json").read_text())
    content["annotations"].append({**content["annotations"][0], "id": 3})
    content["annotations"][-1]["category_id"] = 5
    (tmp_path / "val.json").write_text(json.dumps(content))
    results = write_detections(run, (1, [0, 0, 10, 10], 0.9), (2, [20, 0, 10, 10], 0.8))
    assert precision_by_recall(run, results)["mean, IoU 0.5"].max() == 0.5
    (config,) = run.glob("*/vis_data/config.py")
    known = {"type": "CocoDataset", "metainfo": {"classes": ("cell",)}}
    with config.open("a") as file:
        file.write(f"test_dataloader = dict(dataset={known})\n")
    curves = precision_by_recall(run, results)
    assert set(curves) == {"cell", "mean, IoU 0.5", "mean, IoU 0.75"}
    # Where the config names no classes the test set has its own, COCO's eighty.
    with config.open("a") as file:
        file.write("test_dataloader = dict(dataset=dict(type='CocoDataset'))\n")
    with pytest.raises(ConfigError, match="has no class of the run's test set"):
        precision_by_recall(run, results)
    content["categories"][0]["name"] = "person"
    (tmp_path / "val.json").write_text(json.dumps(content))
    curves = precision_by_recall(run, results)
    assert set(curves) == {"person", "mean, IoU 0.5", "mean, IoU 0.75"}
    assert curves["mean, IoU 0.5"].min() == 1


def test_curves_are_drawn_side_by_side(run, tmp_path):
    picture = tmp_path / "run.png"
    (missing,) = plot_run(run, picture)
    assert "holds no *.bbox.json" in missing
    two = cv2.imread(str(picture))
    write_detections(run, (1, [0, 0, 10, 10], 0.9))
    assert plot_run(run, picture) == []
    three = cv2.imread(str(picture))
    assert three.shape[1] * 2 == two.shape[1] * 3
    assert (three < 250).any()


def test_a_run_without_evaluation_has_its_loss_drawn(run, tmp_path):
    (scalars,) = run.glob("*/vis_data/scalars.json")
    scalars.write_text(json.dumps({"loss": 5.0, "step": 1}))
    assert "no AP by epoch" in plot_run(run, tmp_path / "run.png")[0]


@pytest.mark.parametrize("key", ["coco/bbox_mAP", "coco/bbox_mAP_50"])
def test_metrics_that_the_evaluator_left_out_are_not_drawn(run, tmp_path, key):
    (scalars,) = run.glob("*/vis_data/scalars.json")
    lines = [{"loss": 5.0, "step": 1}, {key: 0.1, "step": 1}]
    scalars.write_text("\n".join(map(json.dumps, lines)))
    missing = plot_run(run, tmp_path / "run.png")
    assert not any("no AP by epoch" in each for each in missing)
    assert (tmp_path / "run.png").is_file()


def test_what_cannot_be_drawn_is_refused(run, tmp_path):
    with pytest.raises(ConfigError, match="holds no log of a training"):
        plot_run(tmp_path, tmp_path / "run.png")
    with pytest.raises(ConfigError, match=r"should end in one of .*\.png"):
        plot_run(run, tmp_path / "run.cat")
    results = write_detections(run, (7, [0, 0, 10, 10], 0.9))
    with pytest.raises(ConfigError, match="no detections in images of"):
        precision_by_recall(run, results)
    (tmp_path / "val.json").unlink()
    with pytest.raises(ConfigError, match="there is no annotation file"):
        precision_by_recall(run, results)
