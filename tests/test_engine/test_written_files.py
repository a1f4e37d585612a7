"""A training leaves nothing outside of its work dir."""

import os
import sys
from pathlib import Path

import pytest

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.link", "os.symlink", "os.chmod")
# Python keeps a hook until it ends, so it writes down only while there is a list.
_written: list[str] | None = None


def _write_down(event, arguments):
    if _written is None:
        return
    if event == "open" and arguments[2] & _WRITING:
        _written.append(arguments[0])
    elif event in _CHANGES and arguments[-1] == -1:
        # Others are named relative to a folder that was opened, to clear it.
        _written.append(arguments[0])
        if event in ("os.rename", "os.link", "os.symlink"):
            _written.append(arguments[1])


@pytest.fixture
def written(monkeypatch):
    """All that Python opens to write, makes, moves and removes, as it comes."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    paths = []
    monkeypatch.setattr(f"{__name__}._written", paths)
    sys.addaudithook(_write_down)
    return paths


def content_of(folder):
    return {
        path: path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_a_training_writes_into_its_work_dir_only(
    run_config, train, tmp_path, digits_root, monkeypatch, written
):
    work_dir, elsewhere = tmp_path / "work", tmp_path / "elsewhere"
    temporary = tmp_path / "temporary"
    elsewhere.mkdir()
    temporary.mkdir()
    monkeypatch.chdir(elsewhere)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(elsewhere))
    # mmdet's metric hands its results on in a temporary folder, and clears it.
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    run_config.work_dir = str(work_dir)
    data = content_of(digits_root)
    del written[:]
    train(run_config)
    paths = {Path(os.fsdecode(p)).resolve() for p in written if not isinstance(p, int)}
    assert work_dir / "epoch_2.pth" in paths
    outside = {
        path
        for path in paths - {Path(os.devnull)}
        if not (path.is_relative_to(work_dir) or path.is_relative_to(temporary))
    }
    assert not outside
    # What libraries write past Python.
    assert not list(elsewhere.iterdir())
    assert not list(temporary.iterdir())
    assert content_of(digits_root) == data
