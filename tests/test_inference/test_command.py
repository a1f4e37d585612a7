"""The tool says in one line what is wrong, and what came of a run."""

import io
import runpy
import sys

import pytest


@pytest.fixture
def run(repository, config_file, weights, tmp_path, monkeypatch, capsys):
    """Function that runs the tool; its status, and its last line."""

    def run(
        *inputs, config=config_file, weights=weights, out=tmp_path / "out", more=()
    ):
        arguments = ["--config", config, "--weights", weights, "--out", out, *more]
        monkeypatch.setattr("sys.argv", ["inference.py", *map(str, inputs)])
        sys.argv += map(str, arguments)
        try:
            runpy.run_path(str(repository / "tools" / "inference.py"), None, "__main__")
        except SystemExit as end:
            if isinstance(end.code, str):
                return 1, end.code
            return end.code, capsys.readouterr().err.strip().splitlines()[-1]
        return 0, capsys.readouterr().out.strip().splitlines()[-1]

    return run


def test_a_readable_file_ends_well(run, folder):
    status, line = run(folder / "a.png", more=["--score-thr", "0"])
    assert status == 0
    assert "in 1 pictures and 0 frames" in line


def test_a_large_image_is_warned_of(run, folder, monkeypatch):
    monkeypatch.setattr("mmdet_lite.runtime.memory_need.USUAL_PIXELS", 64 * 64)
    monkeypatch.setattr("mmdet_lite.runtime.memory_need._SIDES", (32, 64))
    monkeypatch.setattr("sys.stderr", io.StringIO())
    run(folder / "a.png")
    said = [line for line in sys.stderr.getvalue().splitlines() if "warning" in line]
    assert len(said) == 1
    assert "GiB of tensors at a time" in said[0]


def test_an_unreadable_file_is_counted_in_the_status(run, folder, tmp_path):
    assert run(folder) == (1, "error: 1 files could not be used")
    assert (tmp_path / "out" / "detections.json").is_file()


def test_options_that_are_none_are_refused(run, folder):
    status, line = run(folder / "a.png", more=["--cfg-options", "foo"])
    assert status == 2
    assert line.endswith("error: --cfg-options takes KEY=VALUE, but got 'foo'")


def test_ctrl_c_leaves_what_was_found(run, folder, tmp_path, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("mmcv.imwrite", interrupt)
    status, line = run(folder)
    assert status == 130
    assert line == f"interrupted: {tmp_path / 'out'} has what was found so far"
    assert (tmp_path / "out" / "detections.json").is_file()


def test_faults_are_one_line_before_the_work(run, folder, weights, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "text.pth").write_text("no checkpoint")
    picture = folder / "a.png"
    for status, line in (
        run(tmp_path / "gone"),
        run(picture, config="gone.py"),
        run(picture, weights="gone.pth"),
        run(picture, weights=tmp_path / "text.pth"),
        run(picture, out=tmp_path / "file"),
        run(picture, more=["--cfg-options", "model.bbox_head.num_classes=3"]),
        run(picture, out=tmp_path / "file" / "below"),
    ):
        assert status == 2
        assert line.startswith("error: ")
    assert not (tmp_path / "out" / "detections.json").exists()
