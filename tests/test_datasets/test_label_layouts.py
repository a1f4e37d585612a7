"""Layouts are told, and broken ones refused, without supervision."""

import shutil
import sys
from pathlib import Path
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
        file.write_text(content, encoding="utf-8")
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


def test_a_folder_that_may_not_be_read_is_passed_over(picture, tmp_path, monkeypatch):
    """Root, who may run the tests, reads every folder: it is closed to pathlib."""
    closed = tmp_path / "lost+found"
    closed.mkdir()
    put(tmp_path / "images" / "1.png", picture)
    put(tmp_path / "xml" / "1.xml")

    def close(way, is_closed):
        def refuse(path, *args, **kwargs):
            if is_closed(path):
                raise PermissionError(13, "Permission denied", str(path))
            return way(path, *args, **kwargs)

        return refuse

    listing = close(Path.iterdir, lambda path: path == closed)
    monkeypatch.setattr(Path, "iterdir", listing)
    looking = close(Path.stat, lambda path: closed in path.parents)
    monkeypatch.setattr(Path, "stat", looking)
    with pytest.warns(UserWarning, match="passed over"):
        files = find_labels(tmp_path)
    assert [row.image.name for row in files.splits["train"]] == ["1.png"]


@pytest.fixture
def voc(picture, tmp_path):
    """Function that makes a data set of Pascal VOC's layout with lists of lines."""

    def make(stems, **lists):
        for stem in stems:
            put(tmp_path / "JPEGImages" / f"{stem}.png", picture)
            put(tmp_path / "Annotations" / f"{stem}.xml")
        for name, text in lists.items():
            put(tmp_path / "ImageSets" / "Main" / f"{name}.txt", text)
        return find_labels(tmp_path)

    return make


@pytest.mark.parametrize(
    "lines",
    [
        ["p1", "my pic 2", "v1.5"],
        ["p1.png", "my pic 2.png", "v1.5.png"],
        ["p1  1", "my pic 2", "v1.5 -1"],
        ["JPEGImages/p1.jpg", "./JPEGImages/my pic 2.jpg", "JPEGImages/v1.5.jpg -1"],
        ["\ufeffp1", " my pic 2 ", "v1.5", "", "v1.png"],
    ],
)
def test_a_line_of_a_list_may_have_spaces_a_folder_or_a_suffix(voc, lines):
    stems = ["p1", "my pic 2", "v1.5", "v1"]
    files = voc(stems, train="\n".join(lines), val="v1")
    found = {row.image.stem for row in files.splits["train"]}
    assert found - {"v1"} == {"p1", "my pic 2", "v1.5"}
    assert ("v1" in found) == ("v1.png" in lines)
    assert files.problems == []


def test_lines_that_name_no_picture_are_said(voc):
    files = voc(["p1", "p2"], train="q1\nq2\n", val="p2\nq3\n")
    lost = [p.message for p in files.problems if "no picture's name" in p.kind.title]
    assert [message.rpartition("/")[2] for message in lost] == [
        "train.txt has 2 of 2, the first 'q1'",
        "val.txt has 1 of 2, the first 'q3'",
    ]
    with pytest.raises(
        ConfigError,
        match=r"no pictures to train on: .*train\.txt has 2 of 2, the first 'q1' "
        r"\(lines of ImageSets/Main that are no picture's name\)",
    ):
        read_labels(files)


def test_a_yaml_file_of_something_else_is_passed_over(picture, tmp_path):
    put(tmp_path / "images" / "a.png", picture)
    put(tmp_path / "cloud.yaml", "a: !Ref x")
    put(tmp_path / "mine.yaml", "train: images\nnames: [a]")
    assert find_labels(tmp_path).classes == ("a",)
    with pytest.raises(ConfigError, match="is no YAML"):
        find_labels(tmp_path / "cloud.yaml")


def test_cocos_format_is_none_of_these_layouts(digits_root):
    assert find_labels(digits_root) is None


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (None, "is missing"),
        (SimpleNamespace(__version__="0.25.1"), r"is 0\.25\.1"),
        (SimpleNamespace(__version__="0.32.0"), r"is 0\.32\.0"),
    ],
)
def test_a_supervision_that_will_not_do_is_named(
    digits_root, tmp_path, monkeypatch, module, message
):
    (tmp_path / "images").symlink_to(digits_root / "images")
    (tmp_path / "data.yaml").write_text("train: images\nval: images\nnames: [a]")
    monkeypatch.setitem(sys.modules, "supervision", module)
    with pytest.raises(ConfigError, match=f"supervision, which {message}: pip install"):
        read_labels(find_labels(tmp_path))
