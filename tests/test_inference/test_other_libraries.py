"""supervision and SAHI, where installed, do as docs/inference.md says."""

import cv2
import numpy as np
import pytest


def test_supervision_takes_the_predictions(detector, folder):
    supervision = pytest.importorskip("supervision")
    image = cv2.imread(str(folder / "a.png"))
    sample = detector(image, return_datasamples=True)["predictions"][0]
    found = supervision.Detections.from_mmdetection(sample)
    instances = sample.pred_instances.numpy()
    np.testing.assert_array_equal(found.xyxy, instances.bboxes)
    np.testing.assert_array_equal(found.confidence, instances.scores)
    np.testing.assert_array_equal(found.class_id, instances.labels)


def test_sahi_detects_in_slices(config_file, weights, folder):
    sahi = pytest.importorskip("sahi")
    predict = pytest.importorskip("sahi.predict")
    model = sahi.AutoDetectionModel.from_pretrained(
        "mmdet",
        model_path=str(weights),
        config_path=str(config_file),
        confidence_threshold=0.0,
        device="cpu",
    )
    result = predict.get_sliced_prediction(
        str(folder / "a.png"), model, slice_height=80, slice_width=80
    )
    corners = np.array([box.bbox.to_xyxy() for box in result.object_prediction_list])
    assert corners.min() >= 0
    # Boxes of the last slice are where it lies, not where the first does.
    assert 80 < corners.max() <= 128
    names = {box.category.name for box in result.object_prediction_list}
    assert names <= set("0123456789")
