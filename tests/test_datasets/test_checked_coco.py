"""A training stops at faulty data or leaves them out, and says so."""

import json

import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from PIL import Image

from mmdet_lite.cli import check_data
from mmdet_lite.datasets import CheckedCocoDataset, checked_coco, coco_file
from mmdet_lite.datasets.data_sources import set_faulty_data
from mmdet_lite.engine import make_resumable
from mmdet_lite.errors import ConfigError

PIPELINE = [{"type": "LoadImageFromFile"}, {"type": "PackDetInputs", "meta_keys": ()}]


@pytest.fixture
def root(tmp_path):
    """Five images with a box each, of which three have a fault."""
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    images, annotations = [], []
    for number in range(1, 6):
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
        images.append(
            {"id": number, "file_name": f"{number}.png", "width": 60, "height": 40}
        )
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "bbox": [1, 1, 9, 9],
                "area": 81,
                "iscrowd": 0,
            }
        )
    (tmp_path / "1.png").unlink()
    images[1]["width"] = 120
    annotations[2]["bbox"] = None
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "train.json").write_text(json.dumps(content))
    return tmp_path


def settings(root, **kwargs):
    return {
        "type": "CheckedCocoDataset",
        "data_root": str(root),
        "ann_file": "train.json",
        "data_prefix": {"img": ""},
        "metainfo": {"classes": ("cat",)},
        "pipeline": PIPELINE,
        **kwargs,
    }


def test_it_stops_at_the_first_fault(root):
    with pytest.raises(ConfigError, match=r"annotation 3 has bbox None"):
        DATASETS.build(settings(root))


@pytest.fixture
def said(monkeypatch):
    """Lines of the log."""
    lines = []
    monkeypatch.setattr(
        checked_coco, "print_log", lambda line, **kwargs: lines.append(line)
    )
    return lines


def test_it_filters_as_mmdet_does(root):
    content = json.loads((root / "train.json").read_text())
    del content["annotations"][1:4]
    (root / "train.json").write_text(json.dumps(content))
    wanted = {"filter_cfg": {"filter_empty_gt": True, "min_size": 32}}
    plain, checked = (
        DATASETS.build({**settings(root, **wanted), "type": kind})
        for kind in ("CocoDataset", "CheckedCocoDataset")
    )
    assert len(plain) == len(checked) == 2
    for index in range(2):
        assert plain.get_data_info(index) == checked.get_data_info(index)


def test_it_leaves_faulty_data_out_and_counts_them(root, said):
    dataset = DATASETS.build(settings(root, faulty="skip"))
    assert [dataset.get_data_info(i)["img_id"] for i in range(len(dataset))] == [
        3,
        4,
        5,
    ]
    assert dataset.get_data_info(0)["instances"] == []
    (line,) = said
    assert "left out 2 of 5 images and 3 of 5 annotations" in line


def test_an_image_that_cannot_be_read_is_named(root, said):
    # Its head is whole, so that only reading all of it tells.
    for number in (4, 5):
        path = root / f"{number}.png"
        path.write_bytes(path.read_bytes()[:3000])
    content = json.loads((root / "train.json").read_text())
    content = {
        **content,
        "images": content["images"][2:],
        "annotations": content["annotations"][3:],
    }
    (root / "train.json").write_text(json.dumps(content))
    dataset = DATASETS.build(settings(root))
    assert dataset[0]["inputs"].shape == (3, 40, 60)
    with pytest.raises(ConfigError, match=r"cannot be read: .*4\.png \(.*load image"):
        dataset[1]
    dataset = DATASETS.build(settings(root, faulty="skip"))
    # The only image that can be read takes its place.
    assert dataset[1]["inputs"].shape == (3, 40, 60)
    assert f"left out, it cannot be read: {root / '4.png'} (" in said[0]


@pytest.mark.parametrize("faulty", ["stop", "skip"])
@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            {"type": "LoadAnnotations", "with_bbox": False, "with_seg": True},
            r"4\.png: .*No such file.*maps/4\.png",
        ),
        ({"type": "Resize", "scale": (8, 1), "keep_ratio": True}, r"4\.png: OpenCV"),
    ],
    ids=["a map is missing", "a step cannot take it"],
)
def test_what_is_not_the_images_fault_is_said_and_not_left_out(
    root, said, faulty, step, message
):
    Image.new("RGB", (400, 1)).save(root / "4.png")
    content = json.loads((root / "train.json").read_text())
    content["images"] = [{**content["images"][3], "width": 400, "height": 1}]
    content["annotations"] = [{**content["annotations"][3], "bbox": [1, 0, 9, 1]}]
    (root / "train.json").write_text(json.dumps(content))
    pipeline = [PIPELINE[0], step, PIPELINE[1]]
    prefix = {"img": "", "seg": "maps"}
    dataset = DATASETS.build(
        settings(root, faulty=faulty, pipeline=pipeline, data_prefix=prefix)
    )
    with pytest.raises(
        ConfigError, match=f"the pipeline fails on the image .*{message}"
    ):
        dataset[0]
    assert said == []


def test_nothing_left_is_refused(root):
    for number in range(3, 6):
        (root / f"{number}.png").unlink()
    with pytest.raises(ConfigError, match="it lists no images"):
        DATASETS.build(settings(root, faulty="skip"))


@pytest.mark.parametrize(
    ("prefix", "backend_args"),
    [("s3://bucket/", None), ("", {"backend": "petrel"})],
)
def test_images_on_remote_storage_are_not_taken_for_missing(
    root, said, prefix, backend_args
):
    load = {"type": "LoadImageFromFile", "backend_args": backend_args}
    pipeline = [load, *PIPELINE[1:]]
    remote = {"data_prefix": {"img": prefix}, "pipeline": pipeline}
    assert len(DATASETS.build(settings(root, faulty="skip", **remote))) == 5
    assert said == [
        f"{root / 'train.json'}: left out 0 of 5 images and 1 of 5 annotations, which "
        "are faulty"
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"faulty": "ignore"}, "'stop' or 'skip', but got 'ignore'"),
        ({"faulty": "skip", "test_mode": True}, "for training sets"),
    ],
)
def test_settings_that_make_no_sense_are_refused(root, change, message):
    with pytest.raises(ConfigError, match=message):
        DATASETS.build(settings(root, **change))


def test_training_sets_of_coco_become_checked_ones(root):
    plain = {**settings(root), "type": "CocoDataset"}
    voc = {"type": "VOCDataset"}
    cfg = Config({"train_dataloader": {"dataset": {"datasets": [plain, voc]}}})
    set_faulty_data(cfg, "skip")
    checked, other = cfg.train_dataloader.dataset.datasets
    assert (checked.type, checked.faulty) == ("mmdet.CheckedCocoDataset", "skip")
    assert other == voc
    with pytest.raises(ConfigError, match="--faulty-data needs"):
        set_faulty_data(Config({"train_dataloader": {"dataset": voc}}), "skip")


@pytest.mark.parametrize(
    "kind", ["mmdet.CocoDataset", "mmdet.CheckedCocoDataset", CocoDataset]
)
def test_a_config_of_another_scope_trains_on_checked_data(root, kind):
    pipeline = [{**PIPELINE[0]}, {**PIPELINE[1], "type": "mmdet.PackDetInputs"}]
    dataset = {**settings(root, pipeline=pipeline), "type": kind}
    sampler = {"type": "DefaultSampler", "shuffle": True}
    loader = {"dataset": dataset, "batch_size": 2, "num_workers": 0}
    cfg = Config({"train_dataloader": {**loader, "sampler": sampler}, "train_cfg": {}})
    set_faulty_data(cfg, "skip")
    make_resumable(cfg)
    # As mmengine's runner builds it, also from the file that it writes.
    written = Config.fromstring(cfg.pretty_text, ".py")
    with DefaultScope.overwrite_default_scope("mmengine"):
        for config in (cfg, written):
            batches = Runner.build_dataloader(config.train_dataloader, seed=0)
            assert isinstance(batches.dataset.dataset, CheckedCocoDataset)
            assert batches.dataset.dataset.faulty == "skip"
            assert len(next(iter(batches))["inputs"]) == 2


@pytest.fixture
def joined(root):
    """Config of a training on images with boxes, and on two sets of images without."""
    content = json.loads((root / "train.json").read_text())
    content["images"] = content["images"][3:]
    content["annotations"] = content["annotations"][3:]
    (root / "train.json").write_text(json.dumps(content))
    (root / "none.json").write_text(json.dumps({**content, "annotations": []}))
    del content["annotations"]
    (root / "unlabelled.json").write_text(json.dumps(content))
    datasets = [
        {**settings(root), "type": "CocoDataset", "ann_file": f"{name}.json"}
        for name in ("train", "none", "unlabelled")
    ]
    datasets[0]["filter_cfg"] = {"filter_empty_gt": True}
    dataset = {"type": "ConcatDataset", "datasets": datasets}
    return Config({"train_dataloader": {"dataset": dataset}})


@pytest.mark.parametrize("faulty", [None, "skip"])
def test_sets_without_boxes_are_trained_on_beside_one_with(joined, capfd, faulty):
    set_faulty_data(joined, faulty)
    check_data(joined)
    assert capfd.readouterr().out.count("note: a data set without a box") == 2
    dataset = DATASETS.build(joined.train_dataloader.dataset)
    assert len(dataset) == 6


def test_sets_without_boxes_alone_are_refused(joined):
    set_faulty_data(joined)
    joined.train_dataloader.dataset.datasets.pop(0)
    with pytest.raises(
        ConfigError, match="train_dataloader: none of its 2 data sets has a box"
    ):
        check_data(joined)
    joined.train_dataloader.dataset.datasets.pop(0)
    with pytest.raises(ConfigError, match="lacks annotations"):
        check_data(joined)


def test_a_set_without_boxes_that_leaves_out_such_images_is_refused(joined):
    empty = joined.train_dataloader.dataset.datasets[1]
    empty.filter_cfg = {"filter_empty_gt": True}
    set_faulty_data(joined)
    for use in (check_data, lambda _: DATASETS.build(empty)):
        with pytest.raises(ConfigError, match="no annotation has a box to learn from"):
            use(joined)


def test_boxes_that_are_all_left_out_are_missed_beside_others_too(root):
    background = settings(root, faulty="skip", boxes_elsewhere=True)
    for number in range(3, 6):
        (root / f"{number}.png").unlink()
    content = json.loads((root / "train.json").read_text())
    Image.new("RGB", (60, 40)).save(root / "6.png")
    content["images"].append({**content["images"][0], "id": 6, "file_name": "6.png"})
    (root / "train.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="no annotation has a box to learn from"):
        DATASETS.build(background)


def test_the_check_before_a_training_goes_along(root, monkeypatch):
    cfg = Config({"train_dataloader": {"dataset": settings(root)}})
    with pytest.raises(ConfigError, match=r"train_dataloader, .*annotation 3"):
        check_data(cfg)
    cfg.train_dataloader.dataset.faulty = "skip"
    check_data(cfg)
    # The file, which may be large, is not read again.
    monkeypatch.setattr(coco_file, "_read", None)
    assert len(DATASETS.build(cfg.train_dataloader.dataset)) == 3
