"""A config is pointed at data of one's own by the folder's name."""

import copy
import json
import shutil

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData

from mmdet_lite.cli import check_data, use_own_data
from mmdet_lite.errors import ConfigError


@pytest.fixture
def layout(digits_root, tmp_path):
    """Function that lays the digits out as other tools do."""

    def lay_out(train, val, images):
        for source, target in (("train.json", train), ("val.json", val)):
            (tmp_path / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(digits_root / source, tmp_path / target)
            (tmp_path / images[target]).mkdir(parents=True, exist_ok=True)
            for image in json.loads((digits_root / source).read_text())["images"]:
                shutil.copy(
                    digits_root / "images" / image["file_name"],
                    tmp_path / images[target] / image["file_name"],
                )
        return tmp_path

    return lay_out


@pytest.mark.parametrize(
    ("train", "val", "train_images", "val_images"),
    [
        ("train.json", "val.json", "images", "images"),
        ("train.json", "test.json", "", ""),
        (
            "annotations/instances_train2017.json",
            "annotations/instances_val2017.json",
            "train2017",
            "val2017",
        ),
        (
            "train/_annotations.coco.json",
            "valid/_annotations.coco.json",
            "train",
            "valid",
        ),
        (
            "annotations/train.json",
            "annotations/val.json",
            "images/train",
            "images/val",
        ),
    ],
)
def test_files_images_and_classes_are_found(
    read, layout, train, val, train_images, val_images
):
    root = layout(train, val, {train: train_images, val: val_images})
    cfg = read()
    use_own_data(cfg, root)
    for loader, file, folder in (
        (cfg.train_dataloader, train, train_images),
        (cfg.val_dataloader, val, val_images),
        (cfg.test_dataloader, val, val_images),
    ):
        assert loader.dataset.ann_file == file
        assert loader.dataset.data_prefix.img == (f"{folder}/" if folder else "")
        assert loader.dataset.metainfo.classes == tuple("0123456789")
    assert cfg.model.bbox_head.num_classes == 10
    assert cfg.val_evaluator.classwise
    assert cfg.test_evaluator.ann_file == str(root / val)
    check_data(cfg)


def test_files_may_be_named(read, layout):
    root = layout("a.json", "b.json", {"a.json": "images", "b.json": "images"})
    with pytest.raises(ConfigError, match="name it by --train-file"):
        use_own_data(read(), root)
    cfg = read()
    use_own_data(cfg, root, "a.json", "b.json")
    assert cfg.val_dataloader.dataset.ann_file == "b.json"
    with pytest.raises(ConfigError, match=r"no annotation file .*c\.json"):
        use_own_data(read(), root, "c.json")


@pytest.mark.parametrize(
    ("file", "layout_name"),
    [("data.yaml", "YOLO"), ("labels/classes.txt", "YOLO"), ("a/b.xml", "Pascal VOC")],
)
def test_another_layout_is_told_how_to_be_converted(read, tmp_path, file, layout_name):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("names: [a]")
    with pytest.raises(ConfigError, match=f"is in {layout_name}'s layout.*to_coco.py"):
        use_own_data(read(), tmp_path)


def test_what_does_not_fit_is_named(read, layout):
    root = layout(
        "train.json", "val.json", {"train.json": "images", "val.json": "images"}
    )
    content = json.loads((root / "val.json").read_text())
    content["categories"][0]["name"] = "nought"
    (root / "val.json").write_text(json.dumps(content))
    with pytest.raises(
        ConfigError, match=r"different categories.*: '0', '1'.* and 'nought', '1'"
    ):
        use_own_data(read(), root)
    (root / "val.json").write_text('{"images": []}')
    with pytest.raises(ConfigError, match=r"val\.json: .* lacks annotations, categ"):
        use_own_data(read(), root)
    shutil.copy(root / "train.json", root / "val.json")
    shutil.rmtree(root / "images")
    with pytest.raises(ConfigError, match="which is in none of"):
        use_own_data(read(), root)
    with pytest.raises(ConfigError, match="is no folder"):
        use_own_data(read(), root / "nowhere")


def test_an_absolute_file_may_lie_anywhere(read, digits_root, tmp_path, monkeypatch):
    shutil.copy(digits_root / "train.json", tmp_path / "other.json")
    monkeypatch.chdir(digits_root.parent)
    for file, expected in (
        (digits_root / "train.json", "train.json"),
        (tmp_path / "other.json", str(tmp_path / "other.json")),
    ):
        cfg = read()
        use_own_data(cfg, digits_root.name, str(file))
        assert cfg.train_dataloader.dataset.ann_file == expected
        assert len(DATASETS.build(cfg.train_dataloader.dataset)) == 8
        check_data(cfg)


@pytest.mark.parametrize("num_classes", [2, 100])
def test_any_number_of_classes_is_drawn(read, digits_root, tmp_path, num_classes):
    root = tmp_path / "many"
    shutil.copytree(digits_root, root)
    for name in ("train.json", "val.json"):
        content = json.loads((root / name).read_text())
        content["categories"] = [
            {"id": i, "name": f"class {i}"} for i in range(num_classes)
        ]
        for row in content["annotations"]:
            row["category_id"] = num_classes - 1
        (root / name).write_text(json.dumps(content))
    cfg = read()
    use_own_data(cfg, root)
    visualizer = DetLocalVisualizer()
    visualizer.dataset_meta = DATASETS.build(cfg.val_dataloader.dataset).metainfo
    instances = InstanceData(
        bboxes=torch.tensor([[8.0, 8, 40, 40], [50, 50, 90, 90]]),
        scores=torch.ones(2),
        labels=torch.tensor([0, num_classes - 1]),
    )
    sample = DetDataSample(pred_instances=instances, gt_instances=instances)
    image = np.zeros((96, 96, 3), np.uint8)
    visualizer.add_datasample("", image, sample)
    drawn = visualizer.get_image()
    assert drawn.any()
    # A class has its colour, whichever others are drawn.
    sample.gt_instances = instances[:1]
    visualizer.add_datasample("", image, sample, draw_pred=False)
    np.testing.assert_array_equal(visualizer.get_image()[6:10], drawn[6:10, :96])


@pytest.fixture
def with_masks(digits_root, tmp_path):
    """The digits with a polygon around every box."""
    root = tmp_path / "masks"
    shutil.copytree(digits_root, root)
    for name in ("train.json", "val.json"):
        content = json.loads((root / name).read_text())
        for row in content["annotations"]:
            x, y, w, h = row["bbox"]
            row["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        (root / name).write_text(json.dumps(content))
    return root


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py", ["bbox_head"]),
        ("mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py", ["bbox_head", "mask_head"]),
        ("cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py", ["bbox_head"] * 3),
        ("cityscapes/mask-rcnn_r50_fpn_1x_cityscapes.py", ["bbox_head", "mask_head"]),
    ],
)
def test_detectors_of_several_heads_are_pointed_at_it(read, with_masks, name, heads):
    cfg = read(f"mmdet::{name}")
    use_own_data(cfg, with_masks)
    found = [
        head.num_classes
        for part in dict.fromkeys(heads)
        for head in _as_list(cfg.model.roi_head[part])
    ]
    assert found == [10] * len(heads)
    (metric,) = _as_list(cfg.test_evaluator)
    assert metric.type == "CocoMetric"
    assert metric.ann_file == str(with_masks / "val.json")
    check_data(cfg)


def _as_list(part):
    return part if isinstance(part, list) else [part]


def test_a_loss_of_so_many_classes_goes_along(read, digits_root):
    cfg = read()
    cfg.model.bbox_head.loss_cls = {"type": "SeesawLoss", "num_classes": 3}
    use_own_data(cfg, digits_root)
    assert cfg.model.bbox_head.loss_cls.num_classes == 10


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py", "masks .* have no segmentation"),
        ("htc/htc_r50_fpn_1x_coco.py", r"maps of semantic segmentation \(with_seg"),
        ("pascal_voc/faster-rcnn_r50_fpn_1x_voc0712.py", "RepeatDataset joins 2"),
        ("wider_face/retinanet_r50_fpn_1x_widerface.py", "has WIDERFaceDataset"),
        ("lvis/mask-rcnn_r50_fpn_sample1e-3_ms-1x_lvis-v1.py", "has LVISV1Dataset"),
    ],
)
def test_configs_of_other_data_are_refused(read, digits_root, name, message):
    with pytest.raises(ConfigError, match=message):
        use_own_data(read(f"mmdet::{name}"), digits_root)


def test_masks_that_a_branch_loads_must_be_there(read, digits_root, with_masks):
    cfg = read()
    pipeline = cfg.train_dataloader.dataset.pipeline
    load = {"type": "LoadAnnotations", "with_bbox": True, "with_mask": True}
    pipeline[1:] = [{"type": "MultiBranch", "sup": [load, *pipeline[2:]]}]
    with pytest.raises(ConfigError, match=r"masks .* have no segmentation"):
        use_own_data(copy.deepcopy(cfg), digits_root)
    use_own_data(cfg, with_masks)


def test_a_config_without_a_test_gets_one(read, digits_root):
    cfg = read()
    cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
    use_own_data(cfg, digits_root)
    assert cfg.test_cfg.type == "TestLoop"
    assert cfg.test_dataloader == cfg.val_dataloader


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cfg: cfg.pop("val_dataloader"), "needs a config with a val_dataloader"),
        (lambda cfg: cfg.pop("val_evaluator"), "needs a config with a CocoMetric"),
        (lambda cfg: cfg.model.pop("bbox_head"), "LiteDINO has none"),
    ],
)
def test_configs_without_a_part_are_refused(read, digits_root, change, message):
    cfg = read()
    change(cfg)
    with pytest.raises(ConfigError, match=message):
        use_own_data(cfg, digits_root)
