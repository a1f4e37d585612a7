"""Data in YOLO's layout are converted by one command, checked and trained on."""

import json
import runpy
import shutil
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("supervision")


@pytest.fixture
def run(repository, monkeypatch, capfd):
    """Function that runs the tool; returns its status, output and errors."""
    tool = str(repository / "tools" / "dataset_converters" / "to_coco.py")

    def run_tool(*arguments):
        command = [tool, *map(str, arguments), "--workers", "1"]
        monkeypatch.setattr(sys, "argv", command)
        status = 0
        try:
            runpy.run_path(tool, run_name="__main__")
        except SystemExit as end:
            status = end.code
        return status, *capfd.readouterr()

    return run_tool


@pytest.fixture
def yolo(tmp_path):
    """A data set of four pictures, each with a box in the middle."""
    for number in range(4):
        split = "val" if number == 3 else "train"
        for kind in ("images", "labels"):
            (tmp_path / "yolo" / kind / split).mkdir(parents=True, exist_ok=True)
        picture = np.full((64, 64, 3), 60 * number, np.uint8)
        folder = tmp_path / "yolo" / "images" / split
        assert cv2.imwrite(str(folder / f"{number}.png"), picture)
        label = folder.parents[1] / "labels" / split / f"{number}.txt"
        label.write_text("0 0.5 0.5 0.5 0.5")
    description = "train: images/train\nval: images/val\nnames: {0: square}"
    (tmp_path / "yolo" / "data.yaml").write_text(description)
    return tmp_path / "yolo"


def test_a_data_set_is_written_and_checked(run, yolo, tmp_path):
    for kind in ("images", "labels"):
        shutil.copytree(yolo / kind / "val", yolo / kind / "test")
    with (yolo / "data.yaml").open("a") as file:
        file.write("\ntest: images/test")
    status, out, _ = run(yolo, "--out", tmp_path / "coco")
    assert status == 0
    lines = out.splitlines()
    assert lines[0] == (
        "YOLO: train 3 pictures with 3 boxes, val 1 pictures with 1 boxes, test 1 "
        "pictures with 1 boxes, of 'square'"
    )
    assert lines.count("nothing is wrong") == 3
    assert f"val: {tmp_path / 'coco' / 'test.json'}" in lines
    content = json.loads((tmp_path / "coco" / "train.json").read_text())
    assert [row["bbox"] for row in content["annotations"]] == [[16, 16, 32, 32]] * 3


def test_faults_stop_before_anything_is_written_or_are_skipped(run, yolo, tmp_path):
    (yolo / "labels" / "train" / "0.txt").write_text("0 32 32 32 32")
    # The head is whole: only who decodes the picture sees.
    picture = yolo / "images" / "train" / "1.png"
    picture.write_bytes(picture.read_bytes()[:-40])
    coco = tmp_path / "coco"
    status, out, _ = run(yolo, "--out", coco)
    assert status == 1
    assert "problem: boxes that do not lie in their picture (1)" in out
    assert "problem: image files that cannot be read (1)" in out
    assert not coco.exists()
    assert run(yolo, "--out", coco, "--faulty-data", "skip")[0] == 0
    content = json.loads((coco / "train.json").read_text())
    assert [row["file_name"] for row in content["images"]] == ["2.png"]


def test_what_the_converted_data_lack_is_said(run, yolo, tmp_path):
    for label in (yolo / "labels" / "train").iterdir():
        label.write_text("")
    status, out, _ = run(yolo, "--out", tmp_path / "coco")
    assert status == 1
    assert "problem: nothing to learn from (1)" in out


def test_what_cannot_be_converted_is_one_line(run, tmp_path):
    for source, message in (
        (tmp_path / "nowhere", "there is no data set"),
        (tmp_path, "has neither XML files"),
    ):
        status, _, errors = run(source, "--out", tmp_path / "coco")
        assert status == 2
        assert errors.startswith("error: ")
        assert message in errors
        assert len(errors.splitlines()) == 1


def test_where_nothing_can_be_written_is_said_before_the_work(run, yolo, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for out, message in (
        (tmp_path / "file", "exists; name a folder that is empty or new"),
        (
            tmp_path / "file" / "coco",
            f"the folder of --out, {tmp_path / 'file'} cannot be written to",
        ),
    ):
        status, printed, errors = run(yolo, "--out", out)
        assert (status, printed) == (2, "")
        assert message in errors
        assert len(errors.splitlines()) == 1


def test_a_folder_that_is_there_is_asked_itself(run, yolo, tmp_path, monkeypatch):
    """The one around it may be closed; root, who may run the tests, opens all."""
    coco = tmp_path / "coco"
    coco.mkdir()
    make_file = tempfile.TemporaryFile
    closed = tmp_path

    def refuse(dir):
        if Path(dir) == closed:
            raise PermissionError(13, "Permission denied", str(dir))
        return make_file(dir=dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert run(yolo, "--out", coco)[0] == 0
    shutil.rmtree(coco)
    coco.mkdir()
    closed = coco
    status, printed, errors = run(yolo, "--out", coco)
    assert (status, printed) == (2, "")
    assert f"error: --out {coco} cannot be written to" in errors
