"""The check lists all problems of a data set at once, with what to do."""

import json
import runpy
import shutil
import sys

import pytest


@pytest.fixture
def run_check(repository, monkeypatch, capfd):
    """Function that runs the tool; returns its status, output and errors."""
    tool = str(repository / "tools" / "dataset_converters" / "check_data.py")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", [tool, *map(str, arguments)])
        status = 0
        try:
            runpy.run_path(tool, run_name="__main__")
        except SystemExit as end:
            status = end.code
        return status, *capfd.readouterr()

    return run


def test_all_problems_of_a_folder_are_listed(run_check, digits_root, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(digits_root, root)
    assert run_check("--data-root", root)[0] == 0
    train = json.loads((root / "train.json").read_text())
    train["annotations"][0]["bbox"] = [1, 2]
    train["images"][1]["id"] = train["images"][0]["id"]
    (root / "train.json").write_text(json.dumps(train))
    val = json.loads((root / "val.json").read_text())
    val["categories"].reverse()
    (root / "val.json").write_text(json.dumps(val))
    cut = root / "images" / train["images"][2]["file_name"]
    cut.write_bytes(cut.read_bytes()[:2000])
    status, out, bar = run_check("--data-root", root, "--workers", 2)
    assert status == 1
    for line in (
        "problem: image ids that are not unique (2)",
        "problem: image files that cannot be read (1)",
        "problem: classes that do not fit the categories (1)",
        "    -> copy or convert them anew, as 8-bit JPEG or PNG",
    ):
        assert line in out.splitlines()
    assert " 8/8, " in bar  # the progress bar of the training images
    # Before a training no picture is decoded.
    assert "cannot be read" not in run_check("--data-root", root, "--quick")[1]


def test_a_class_that_is_not_trained_is_named(run_check, digits_root, tmp_path):
    """As a training on the folder refuses it."""
    for file in digits_root.iterdir():
        (tmp_path / file.name).symlink_to(file)
    val = json.loads((digits_root / "val.json").read_text())
    val["categories"].append({"id": 99, "name": "ten"})
    (tmp_path / "val.json").unlink()
    (tmp_path / "val.json").write_text(json.dumps(val))
    status, out, _ = run_check("--data-root", tmp_path, "--quick")
    assert status == 1
    assert "    1 of its 11 categories are not of the training set: 'ten'; " in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--data-root", ".", "--cfg-options", "model.type=X"),
            "--cfg-options needs a config",
        ),
        (("--data-root", ".", "--splits", "test"), "--splits needs a config"),
        (("a.py", "--train-file", "t.json"), "--train-file needs --data-root"),
        (("a.py", "--val-file", "v.json"), "--val-file needs --data-root"),
        ((), "name a config, or a folder by --data-root"),
        (("--data-root", "nowhere"), "--data-root nowhere is no folder"),
        (("nowhere.py",), "there is no config nowhere.py"),
    ],
)
def test_what_cannot_be_checked_is_one_line(run_check, arguments, message):
    status, _, errors = run_check(*arguments)
    assert status == 2
    assert errors.strip().splitlines()[-1].startswith(f"error: {message}")
