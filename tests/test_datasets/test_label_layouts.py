"""Layouts are told, and broken ones refused, without supervision."""

import shutil
import sys
from types import SimpleNamespace

import pytest

from mmdet_lite.datasets.conversion import find_labels, read_labels
from mmdet_lite.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: {1: a, 2: b}", "number its names from 0 on without a gap"),
        ("names: [a, no]", r"has the name False.*quotes"),
        ("names: [a, a]", "names several classes 'a'"),
        ("names: []", "must be a list"),
        ("nc: 3\nnames: [a, b]", "has nc 3, but 2 names"),
        ("train: nowhere/else\nnames: [a]", "names nowhere/else, which is not there"),
        ("names: [a]\nkpt_shape: 3", "kpt_shape"),
        ("names: [", "is no YAML"),
    ],
)
def test_a_broken_description_is_refused(tmp_path, text, message):
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        find_labels(tmp_path)


def test_lists_of_pictures_say_what_set_they_belong_to(digits_root, tmp_path):
    pictures = sorted((digits_root / "images").iterdir())[:4]
    for folder in ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Main"):
        (tmp_path / "VOC2007" / folder).mkdir(parents=True)
    for picture in pictures:
        # Masks have the names of the pictures.
        for folder in ("JPEGImages", "SegmentationClass"):
            shutil.copy(picture, tmp_path / "VOC2007" / folder)
        (tmp_path / "VOC2007" / "Annotations" / f"{picture.stem}.xml").touch()
    lists = {"trainval": pictures[:2], "test": pictures[2:3], "dog_val": pictures}
    for name, listed in lists.items():
        file = tmp_path / "VOC2007" / "ImageSets" / "Main" / f"{name}.txt"
        file.write_text("".join(f"{picture.stem} 1\n" for picture in listed))
    files = find_labels(tmp_path)
    found = {
        split: [row.image.name for row in rows] for split, rows in files.splits.items()
    }
    assert found == {
        "train": [pictures[0].name, pictures[1].name],
        "test": [pictures[2].name],
    }
    (problem,) = files.problems
    assert problem.kind.title == "pictures that no list of ImageSets/Main has"
    assert problem.message.endswith(pictures[3].name)
    shutil.copytree(tmp_path / "VOC2007", tmp_path / "VOC2012")
    with pytest.raises(ConfigError, match="has several data sets, name one"):
        find_labels(tmp_path)


@pytest.fixture
def picture(digits_root):
    """Path of a picture."""
    return next((digits_root / "images").iterdir())


def put(file, content=""):
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        file.write_text(content)
    else:
        shutil.copy(content, file)


def test_pictures_that_share_a_label_file_are_named(picture, tmp_path):
    put(tmp_path / "data.yaml", "train: train/images\nval: val/images\nnames: [a]")
    for name in ("train/images/t0.jpg", "train/images/t0.png", "val/images/v.png"):
        put(tmp_path / name, picture)
    put(tmp_path / "train" / "labels" / "t0.txt", "0 .5 .5 .2 .2")
    files = find_labels(tmp_path)
    (problem,) = files.problems
    assert problem.kind.title == "label files of several pictures"
    assert problem.message.endswith("labels/t0.txt is that of t0.jpg, t0.png")
    assert files.splits["train"] == []
    assert [row.image.name for row in files.splits["val"]] == ["v.png"]


def test_pictures_of_one_name_in_two_folders_are_kept(picture, tmp_path):
    for name in ("images/a/1.png", "images/b/1.png", "images/c/2.png"):
        put(tmp_path / name, picture)
    put(tmp_path / "xml" / "2.xml")
    found = [(row.image, row.labels) for row in find_labels(tmp_path).splits["train"]]
    assert found == [
        (tmp_path / "images" / "a" / "1.png", None),
        (tmp_path / "images" / "b" / "1.png", None),
        (tmp_path / "images" / "c" / "2.png", tmp_path / "xml" / "2.xml"),
    ]


def test_cocos_format_is_none_of_these_layouts(digits_root):
    assert find_labels(digits_root) is None


@pytest.mark.parametrize(
    ("module", "message"),
    [(None, "is missing"), (SimpleNamespace(__version__="0.25.1"), r"is 0\.25\.1")],
)
def test_a_supervision_that_will_not_do_is_named(
    digits_root, tmp_path, monkeypatch, module, message
):
    (tmp_path / "images").symlink_to(digits_root / "images")
    (tmp_path / "data.yaml").write_text("train: images\nval: images\nnames: [a]")
    monkeypatch.setitem(sys.modules, "supervision", module)
    with pytest.raises(ConfigError, match=f"supervision, which {message}: pip install"):
        read_labels(find_labels(tmp_path))
