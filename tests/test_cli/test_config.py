"""A mistake in an argument is one line, before the work."""

import argparse
import runpy
import sys

import pytest

from mmdet_lite.cli import (
    add_model_arguments,
    positive_int,
    require_writable_file,
    require_writable_folder,
)
from mmdet_lite.errors import ConfigError


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("model.num_queries", "takes KEY=VALUE, but got 'model.num_queries'"),
        ("=3", "takes KEY=VALUE, but got '=3'"),
        ("model.x=[1,(2]", "Imbalanced brackets"),
    ],
)
def test_options_that_are_none_are_refused(option, message, capsys):
    parser = argparse.ArgumentParser()
    add_model_arguments(parser)
    with pytest.raises(SystemExit) as end:
        parser.parse_args(["config.py", "--cfg-options", option])
    assert end.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "-3", "2.0", "three", ""])
def test_numbers_below_one_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match=f"but got '{text}'"):
        positive_int(text)
    assert positive_int("3") == 3


def test_results_that_cannot_be_written_are_refused(tmp_path):
    (tmp_path / "file").write_text("kept")
    require_writable_file("--out", tmp_path / "file")
    require_writable_file("--out", tmp_path / "new" / "file.pkl")
    require_writable_folder("--work-dir", tmp_path / "a" / "b")
    assert (tmp_path / "file").read_text() == "kept"
    assert not (tmp_path / "new" / "file.pkl").exists()
    assert list((tmp_path / "a" / "b").iterdir()) == []
    for path in (tmp_path / "file" / "below", "/proc/nowhere", "\0"):
        with pytest.raises(ConfigError, match=r"--work-dir .* cannot be written to"):
            require_writable_folder("--work-dir", path)
    with pytest.raises(ConfigError, match=r"--out .* is a folder"):
        require_writable_file("--out", tmp_path)
    with pytest.raises(ConfigError, match=r"--out .* cannot be written"):
        require_writable_file("--out", tmp_path / "file" / "x.pkl")


CONFIG = "configs/lite_detr/lite-dino_h3l1-2p1x3_r18_1xb4-3e_digits.py"


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("benchmark", ["operator", "--repeats", "0"], "argument --repeats: a whole"),
        ("benchmark", ["operator", "--shape", "0", "-3"], "argument --shape: a whole"),
        ("benchmark", ["operator", "--queries", "few"], "argument --queries"),
        ("benchmark", ["operator", "--batch", "0"], "argument --batch: a whole"),
        ("benchmark", ["operator", "--device", "abacus"], "error: --device abacus"),
        ("benchmark", ["table", "nowhere.json"], "error: nowhere.json is no measure"),
        (
            "benchmark",
            ["operator", "--json", "/proc/nowhere/a.json"],
            "error: --json /proc/nowhere",
        ),
        (
            "benchmark",
            ["accuracy", "--config", CONFIG, "--checkpoint", "nowhere.pth"],
            "error: the checkpoint does not exist: nowhere.pth",
        ),
        (
            "analysis_tools/get_flops",
            [CONFIG, "--json", "/proc/nowhere/a.json"],
            "error: --json /proc/nowhere",
        ),
        (
            "experiments/retest",
            ["grid.yml", "runs", "--cfg-options", "foo"],
            "error: --cfg-options takes KEY=VALUE, but got 'foo'",
        ),
        ("experiments/retest", ["grid.yml", "runs"], "required: --cfg-options"),
        (
            "experiments/retest",
            ["grid.yml", "runs", "--threads", "0", "--cfg-options", "a=b"],
            "argument --threads: a whole",
        ),
        ("train", [CONFIG, "--resume", "nowhere.pth"], "error: the checkpoint does"),
        ("train", [CONFIG, "--work-dir", "/proc/nowhere"], "error: --work-dir /proc"),
        ("train", [CONFIG, "--launcher", "pytorch"], "error: --launcher pytorch needs"),
        ("train", [CONFIG, "--batch-size", "0"], "argument --batch-size: a whole"),
        ("test", [CONFIG, "nowhere.pth"], "error: the checkpoint does not exist"),
        (
            "test",
            [CONFIG, CONFIG, "--show-dir", "/proc/nowhere"],
            "error: --show-dir /proc/nowhere",
        ),
        (
            "test",
            [CONFIG, CONFIG, "--out", "/proc/nowhere/a.pkl"],
            "error: --out /proc/nowhere",
        ),
    ],
)
def test_tools_refuse_before_the_work(
    repository, tmp_path, monkeypatch, capfd, tool, arguments, message
):
    if "--work-dir" not in arguments and tool in ("train", "test"):
        arguments = [*arguments, "--work-dir", str(tmp_path)]
    monkeypatch.chdir(repository)
    monkeypatch.setattr(sys, "argv", [f"{tool}.py", *arguments])
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit) as end:
        runpy.run_path(f"tools/{tool}.py", run_name="__main__")
    assert end.value.code == 2
    assert message in capfd.readouterr().err.strip().splitlines()[-1]
