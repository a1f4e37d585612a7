"""The checkpoint that a training goes on from is its own, whole, and the newest."""

import os
import shutil

import pytest
import torch
from mmengine.config import Config

from mmdet_lite.checkpoint.local_file import UnreadableCheckpointError
from mmdet_lite.checkpoint.resumable import find_newest, read_position
from mmdet_lite.cli import resume_training


def save(path, iteration, time="20260101_120000", without=()):
    content = {
        "meta": {"epoch": 0, "iter": iteration, "seed": 3, "time": time},
        "state_dict": {"a": torch.randn(300)},
        "message_hub": {},
        "optimizer": {},
        "param_schedulers": [],
    }
    path.parent.mkdir(exist_ok=True)
    torch.save({k: v for k, v in content.items() if k not in without}, path)
    return path


def newest(work_dir, say=lambda line: None, **options):
    found = find_newest(work_dir, say, **options)
    return found and found[0]


@pytest.fixture
def run(tmp_path):
    """Work dir with three checkpoints."""
    for iteration in (8, 9, 10):
        path = save(tmp_path / "run" / f"iter_{iteration}.pth", iteration)
    (path.parent / "last_checkpoint").write_text(str(path))
    return path.parent


def test_the_one_before_a_damaged_one_is_found(run):
    damaged = run / "iter_10.pth"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    said = []
    assert newest(run, said.append) == run / "iter_9.pth"
    assert len(said) == 1
    assert "iter_10.pth is truncated" in said[0]
    assert "going on from" in said[0]


def test_damaged_checkpoints_alone_do_not_start_a_run_anew(run):
    for file in run.glob("*.pth"):
        file.write_bytes(b"")
    with pytest.raises(UnreadableCheckpointError, match="none of the 3"):
        find_newest(run, lambda line: None)


def test_times_of_files_do_not_matter(run):
    os.utime(run / "iter_8.pth")  # As a copy or a restored backup leaves it.
    assert newest(run) == run / "iter_10.pth"


def test_a_training_that_was_started_once_more_goes_on(run):
    again = save(run / "iter_2.pth", 2, time="20260102_090000")
    assert newest(run) == again


def test_a_copy_goes_on_by_itself(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    save(run / "iter_11.pth", 11)
    assert newest(copy) == copy / "iter_10.pth"


def test_names_may_end_otherwise(tmp_path):
    for iteration in (1, 2):
        path = save(tmp_path / f"iter_{iteration}.pt", iteration)
    (tmp_path / "last_checkpoint").write_text(str(path))
    assert newest(tmp_path) == path
    path.write_bytes(b"")
    assert newest(tmp_path) == tmp_path / "iter_1.pt"


@pytest.mark.parametrize("configured", [True, False])
def test_checkpoints_of_another_folder_count(tmp_path, configured):
    work_dir, out_dir = tmp_path / "run", tmp_path / "large_disk"
    work_dir.mkdir()
    out_dir.mkdir()
    path = save(out_dir / "run" / "iter_4", 4)
    (work_dir / "last_checkpoint").write_text(str(path))
    cfg = Config({"work_dir": str(work_dir)})
    if configured:
        cfg.default_hooks = {"checkpoint": {"out_dir": str(out_dir)}}
        path.unlink()
        path = save(out_dir / "run" / "iter_3.pth", 3)
    resume_training(cfg, "auto")
    assert (cfg.resume, cfg.load_from) == (True, str(path))
    assert cfg.randomness.seed == 3


def test_a_remote_checkpoint_is_left_to_mmengine(tmp_path):
    (tmp_path / "last_checkpoint").write_text("s3://bucket/run/epoch_3.pth")
    cfg = Config({"work_dir": str(tmp_path)})
    resume_training(cfg, "auto")
    assert (cfg.resume, cfg.load_from) == (True, "s3://bucket/run/epoch_3.pth")


@pytest.mark.parametrize("legacy", [True, False])
def test_weights_to_start_from_are_no_damaged_training(tmp_path, legacy):
    torch.save(
        {"state_dict": {"a": torch.ones(2)}},
        tmp_path / "start.pth",
        _use_new_zipfile_serialization=not legacy,
    )
    save(tmp_path / "best_AP_epoch_1.pth", 3, without=("optimizer",))
    said = []
    assert newest(tmp_path, said.append) is None
    assert len(said) == 1
    assert "start.pth holds weights, but is of no training" in said[0]
    assert newest(tmp_path) is None


def test_a_last_checkpoint_that_is_gone_is_said(tmp_path):
    (tmp_path / "last_checkpoint").write_text("/scratch/run/epoch_3.pth")
    said = []
    assert newest(tmp_path, said.append) is None
    assert "names /scratch/run/epoch_3.pth, which is gone" in said[0]


@pytest.mark.parametrize("lacking", ["optimizer", "param_schedulers"])
def test_without_its_optimizer_and_schedules_no_training_goes_on(tmp_path, lacking):
    path = save(tmp_path / "best_AP_epoch_1.pth", 5, without=(lacking,))
    with pytest.raises(
        UnreadableCheckpointError, match=f"lacks {lacking}.*load_from or --weights"
    ):
        read_position(path, schedules=True)
    path.rename(tmp_path / "epoch_1.pth")
    with pytest.raises(UnreadableCheckpointError, match=f"lacks {lacking}"):
        find_newest(tmp_path, lambda line: None, schedules=True)


def test_a_config_without_schedules_needs_none(tmp_path):
    path = save(tmp_path / "epoch_1.pth", 5, without=("param_schedulers",))
    cfg = Config({"work_dir": str(tmp_path)})
    resume_training(cfg, "auto")
    assert cfg.load_from == str(path)
