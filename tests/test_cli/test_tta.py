"""Predictions of several views are averaged."""

import copy

import pytest
import torch
from mmdet.evaluation import VOCMetric
from mmdet.models.test_time_augs import DetTTAModel
from mmdet.registry import DATASETS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from mmdet_lite.cli import use_test_time_augmentation


@pytest.fixture
def digits_config(read, digits_root, monkeypatch):
    """Config of a test on four pictures of 128×128, tested at 160×160."""
    monkeypatch.setenv("DIGITS_ROOT", str(digits_root))
    return read("lite-dino_h3l1-2p1x3_r18_1xb4-3e_digits.py")


def perfect_prediction(truth, view):
    """The ground truth, as a model would find it in a view."""
    boxes = truth.bboxes.tensor.clone()
    if view.flip:
        width = view.ori_shape[1]
        boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
    scores = torch.full((len(boxes),), 0.9)
    return InstanceData(bboxes=boxes, scores=scores, labels=truth.labels)


def test_flipped_views_leave_the_ground_truth_where_it_is(digits_config):
    plain = DATASETS.build(copy.deepcopy(digits_config.test_dataloader.dataset))
    use_test_time_augmentation(digits_config)
    flipped = DATASETS.build(digits_config.test_dataloader.dataset)
    model = DetTTAModel.__new__(DetTTAModel)
    torch.nn.Module.__init__(model)
    model.tta_cfg = ConfigDict(digits_config.model.tta_cfg)
    metric = VOCMetric()
    metric.dataset_meta = plain.metainfo
    for index in range(len(plain)):
        truth = plain[index]["data_samples"].gt_instances
        views = flipped[index]["data_samples"]
        assert {view.flip for view in views} == {True, False}
        # As DetTTAModel undoes the flip: in pixels of the picture.
        for view in views:
            view.pred_instances = perfect_prediction(truth, view)
        merged = model._merge_single_sample(views)
        boxes = merged.gt_instances.bboxes.tensor
        assert torch.equal(boxes, truth.bboxes.tensor)
        result = merged.to_dict()
        result["gt_instances"]["bboxes"] = boxes
        metric.process({}, [result])
    assert metric.compute_metrics(metric.results)["mAP"] == pytest.approx(1)


def test_a_configs_own_model_and_views_are_taken(digits_config):
    model, views = digits_config.model, [{"type": "LoadImageFromFile"}]
    digits_config.tta_model = {"type": "DetTTAModel", "tta_cfg": {"max_per_img": 7}}
    digits_config.tta_pipeline = views
    use_test_time_augmentation(digits_config)
    assert digits_config.test_dataloader.dataset.pipeline == views
    assert digits_config.model == {**digits_config.tta_model, "module": model}
