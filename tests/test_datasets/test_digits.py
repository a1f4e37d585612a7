"""The digits data set: deterministic, in COCO's format, of every size."""

import filecmp
import json

import cv2
import numpy as np
import pytest
from mmdet.datasets import CocoDataset

from mmdet_lite.datasets.digits import CLASSES, make_digits_dataset


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    arguments = {"num_train": 3, "num_val": 2, "image_size": 128}
    make_digits_dataset(tmp_path / "a", **arguments)
    make_digits_dataset(tmp_path / "b", **arguments)
    make_digits_dataset(tmp_path / "c", **arguments, seed=1)
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*")]
    assert len(files) == 3 + 2 + 2
    for file in files:
        assert filecmp.cmp(tmp_path / "a" / file, tmp_path / "b" / file, shallow=False)
    picture = "images/train_00001.png"
    assert not filecmp.cmp(tmp_path / "a" / picture, tmp_path / "c" / picture, False)


def test_small_medium_and_large_objects_occur(tmp_path):
    make_digits_dataset(tmp_path, num_train=1, num_val=60)
    content = json.loads((tmp_path / "val.json").read_text())
    areas = np.array([row["area"] for row in content["annotations"]])
    assert (areas < 32**2).sum() > 20
    assert ((areas >= 32**2) & (areas < 96**2)).sum() > 20
    assert (areas >= 96**2).sum() > 5


def test_boxes_lie_tightly_around_ink(digits_root):
    """Inside a box the picture differs from its surroundings, up to each edge."""
    content = json.loads((digits_root / "train.json").read_text())
    for row in content["annotations"]:
        name = f"train_{row['image_id']:05d}.png"
        picture = cv2.imread(str(digits_root / "images" / name))
        x, y, width, height = row["bbox"]
        assert 0 <= x < x + width <= picture.shape[1]
        assert 0 <= y < y + height <= picture.shape[0]
        inside = picture[y : y + height, x : x + width].astype(float).mean(-1)
        assert inside.max() - inside.min() > 30
        assert row["area"] == width * height


def test_mmdet_reads_every_object(digits_root):
    dataset = CocoDataset(
        data_root=str(digits_root),
        ann_file="train.json",
        data_prefix={"img": "images/"},
        metainfo={"classes": CLASSES},
        pipeline=[],
    )
    content = json.loads((digits_root / "train.json").read_text())
    read = sum(len(dataset.get_data_info(i)["instances"]) for i in range(len(dataset)))
    assert read == len(content["annotations"])


@pytest.mark.parametrize(
    ("arguments", "name"),
    [({"image_size": 64}, "image_size"), ({"num_val": 0}, "num_val")],
)
def test_numbers_out_of_range_are_refused(tmp_path, arguments, name):
    with pytest.raises(ValueError, match=name):
        make_digits_dataset(tmp_path / "digits", **arguments)
    assert not (tmp_path / "digits").exists()
