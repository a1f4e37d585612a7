"""Faults of data are found before anything is built, and named."""

import json
import re

import pytest
from mmdet.evaluation import CocoMetric
from mmengine.config import Config

from mmdet_lite.cli import check_data
from mmdet_lite.errors import ConfigError


@pytest.fixture
def content():
    """A small, faultless annotation file."""
    return {
        "images": [{"id": 7, "file_name": "a.jpg", "width": 9, "height": 9}],
        "annotations": [
            {
                "id": 3,
                "image_id": 7,
                "category_id": 1,
                "bbox": [1, 2, 3, 4],
                "area": 12,
                "iscrowd": 0,
            }
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }


def make_config(tmp_path, content, classes=("cat", "dog"), num_classes=2):
    if content is not None:
        (tmp_path / "train.json").write_text(json.dumps(content))
    dataset = {
        "type": "CocoDataset",
        "data_root": str(tmp_path),
        "ann_file": "train.json",
        "metainfo": {"classes": classes},
    }
    return Config(
        {
            "model": {"bbox_head": {"num_classes": num_classes}},
            "train_dataloader": {
                "dataset": {"type": "RepeatDataset", "times": 2, "dataset": dataset}
            },
            "val_dataloader": {"dataset": dataset},
            "val_evaluator": {
                "type": "CocoMetric",
                "ann_file": str(tmp_path / "train.json"),
            },
        }
    )


def test_faultless_data_pass(tmp_path, content):
    check_data(make_config(tmp_path, content))


def test_a_subset_of_the_categories_is_fine(tmp_path, content):
    check_data(make_config(tmp_path, content, classes=("cat",), num_classes=1))


def test_a_missing_annotation_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"train_dataloader.*train\.json"):
        check_data(make_config(tmp_path, None))


def test_an_evaluator_without_its_file_is_refused(tmp_path, content):
    cfg = make_config(tmp_path, content)
    cfg.val_evaluator.ann_file = str(tmp_path / "other.json")
    with pytest.raises(ConfigError, match=r"val_evaluator.*other\.json"):
        check_data(cfg)


def test_num_classes_that_disagrees_is_refused(tmp_path, content):
    with pytest.raises(
        ConfigError, match=r"num_classes is 80.*2 classes: 'cat', 'dog'"
    ):
        check_data(make_config(tmp_path, content, num_classes=80))


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ({"roi_head": {"bbox_head": {}}}, "model.roi_head.bbox_head.num_classes"),
        ({"roi_head": {"bbox_head": [{}]}}, "model.roi_head.bbox_head[0].num_classes"),
        ({"detector": {"bbox_head": {}}}, "model.detector.bbox_head.num_classes"),
    ],
)
def test_every_box_head_has_the_classes_of_the_data(tmp_path, content, model, name):
    """With one class less, the last one would be trained as background."""
    cfg = make_config(tmp_path, content)
    cfg.model = model
    head = next(iter(cfg.model.values())).bbox_head
    (head[0] if isinstance(head, list) else head).num_classes = 1
    with pytest.raises(ConfigError, match=re.escape(f"{name} is 1, but the data set")):
        check_data(cfg)


def test_a_model_that_is_told_its_classes_may_have_another_number(tmp_path, content):
    cfg = make_config(tmp_path, content, num_classes=80)
    cfg.model.language_model = {"type": "BertModel"}
    check_data(cfg)


def test_images_to_be_tested_elsewhere_need_no_annotations(tmp_path, content):
    del content["annotations"]
    cfg = make_config(tmp_path, content)
    cfg.test_dataloader = cfg.val_dataloader
    check_data(cfg, splits=("test",))
    with pytest.raises(ConfigError, match="lacks annotations"):
        check_data(cfg, splits=("val",))


def test_classes_that_are_not_categories_are_refused(tmp_path, content):
    """mmdet would train on images without boxes."""
    with pytest.raises(
        ConfigError,
        match=r"train\.json: .*: 'Cat'; the file has 'cat', 'dog' \(set metainfo",
    ):
        check_data(make_config(tmp_path, content, classes=("Cat", "dog")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [1, 2, 3]}, "four finite numbers"),
        ({"bbox": [1, 2, float("nan"), 3]}, "four finite numbers"),
        ({"bbox": None}, "four finite numbers"),
        ({"bbox": [1, 2, -3, 4]}, "negative size"),
        ({"category_id": 9}, "category 9"),
        ({"image_id": 8}, "image 8"),
    ],
)
def test_a_broken_annotation_is_named(tmp_path, content, change, message):
    content["annotations"][0].update(change)
    with pytest.raises(ConfigError, match=rf"train\.json: annotation 3 .*{message}"):
        check_data(make_config(tmp_path, content))


def test_an_annotation_without_area_is_named(tmp_path, content):
    del content["annotations"][0]["area"]
    with pytest.raises(ConfigError, match="annotation 3 has no area"):
        check_data(make_config(tmp_path, content))


def test_files_of_another_format_are_named(tmp_path, content):
    cfg = make_config(tmp_path, content)
    (tmp_path / "train.json").write_text("<annotations/>")
    with pytest.raises(ConfigError, match=r"train\.json is not readable as JSON"):
        check_data(cfg)
    (tmp_path / "train.json").write_text('{"images": []}')
    with pytest.raises(ConfigError, match="lacks annotations, categories"):
        check_data(cfg)


def test_other_data_sets_are_left_to_mmdet(tmp_path, content):
    cfg = make_config(tmp_path, content)
    cfg.train_dataloader.dataset = {"type": "VOCDataset", "ann_file": "missing.txt"}
    check_data(cfg)


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_image_that_is_missing_is_named_for_either_set(tmp_path, content, split):
    cfg = make_config(tmp_path, content)
    dataset = cfg[f"{split}_dataloader"].dataset
    dataset = dataset.get("dataset", dataset)
    dataset.pipeline = [{"type": "LoadImageFromFile"}]
    dataset.data_prefix = {"img": ""}
    with pytest.raises(
        ConfigError, match=rf"{split}_dataloader, .*a\.jpg' does not exist"
    ):
        check_data(cfg)
    (tmp_path / "a.jpg").touch()
    with pytest.raises(ConfigError, match=r"a\.jpg' is empty"):
        check_data(cfg)


def test_images_on_remote_storage_are_left_to_mmdet(tmp_path, content):
    cfg = make_config(tmp_path, content)
    dataset = cfg.val_dataloader.dataset
    dataset.pipeline = [{"type": "LoadImageFromFile"}]
    dataset.data_prefix = {"img": "s3://bucket/"}
    check_data(cfg)


def test_a_storage_that_maps_local_looking_paths_is_left_to_mmdet(tmp_path, content):
    cfg = make_config(tmp_path, content)
    remote = {"backend": "petrel", "path_mapping": {"/nowhere/": "s3://bucket/"}}
    cfg.val_evaluator.update(ann_file="/nowhere/val.json", backend_args=remote)
    cfg.val_dataloader.dataset.update(data_root="/nowhere/", backend_args=remote)
    check_data(cfg)
    cfg.val_evaluator.backend_args = {"backend": "local"}
    with pytest.raises(ConfigError, match=r"val_evaluator does not exist: /nowhere"):
        check_data(cfg)
    cfg.val_dataloader.dataset.backend_args = {"backend": "local"}
    with pytest.raises(ConfigError, match=r"val_dataloader, /nowhere/train\.json"):
        check_data(cfg)


def test_the_metrics_of_an_evaluator_are_looked_at(tmp_path, content):
    cfg = make_config(tmp_path, content)
    metric = {**cfg.val_evaluator, "ann_file": str(tmp_path / "other.json")}
    cfg.val_evaluator = {"type": "MultiDatasetsEvaluator", "metrics": [metric]}
    with pytest.raises(ConfigError, match=r"val_evaluator.*other\.json"):
        check_data(cfg)


def test_what_training_leaves_out_is_said(tmp_path, content, capsys):
    cfg = make_config(tmp_path, content)
    content["images"].append({**content["images"][0], "id": 8, "width": 20})
    (tmp_path / "train.json").write_text(json.dumps(content))
    cfg.train_dataloader.dataset.dataset.filter_cfg = {
        "filter_empty_gt": True,
        "min_size": 9,
    }
    check_data(cfg)
    assert "1 of 2 images have no box" in capsys.readouterr().out


def test_a_validation_file_needs_what_the_evaluation_reads(tmp_path, content):
    cfg = make_config(tmp_path, content)
    del content["annotations"][0]["iscrowd"]
    (tmp_path / "train.json").write_text(json.dumps(content))
    check_data(cfg, splits=("train",))
    for kind in ("CocoMetric", "mmdet.CocoMetric", CocoMetric):
        cfg.val_evaluator.type = kind
        with pytest.raises(ConfigError, match="annotation 3 has no iscrowd"):
            check_data(cfg, splits=("val",))


@pytest.mark.parametrize(
    "evaluator", [{"type": "VOCMetric"}, [{"type": "CocoMetric", "metric": "bbox"}]]
)
def test_a_metric_that_does_not_read_the_file_asks_for_less(
    tmp_path, content, evaluator
):
    cfg = make_config(tmp_path, content)
    del content["annotations"][0]["iscrowd"]
    content["annotations"][0]["id"] = "x"
    (tmp_path / "train.json").write_text(json.dumps(content))
    cfg.val_evaluator = evaluator
    check_data(cfg)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metainfo": {"classes": 5}}, "metainfo.classes of val_dataloader"),
        ({"metainfo": {"classes": [1]}}, "metainfo.classes of val_dataloader"),
        ({"data_rot": "x"}, "the data set of val_dataloader: .*data_rot"),
    ],
)
def test_settings_of_a_data_set_that_do_not_fit_are_named(
    tmp_path, content, change, message
):
    cfg = make_config(tmp_path, content)
    cfg.val_dataloader.dataset.update(change)
    with pytest.raises(ConfigError, match=message):
        check_data(cfg)
