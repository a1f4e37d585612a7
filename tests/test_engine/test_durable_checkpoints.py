"""At any moment a whole checkpoint is there, also while the next one is written."""

import builtins
import os
import resource
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from mmdet.registry import METRICS
from mmengine import fileio
from mmengine.evaluator import BaseMetric
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook, Hook

from mmdet_lite.checkpoint import durable
from mmdet_lite.errors import ConfigError

EVERY_TWO = {"by_epoch": False, "interval": 2, "max_keep_ckpts": 1}


@METRICS.register_module(force=True)
class RisingScore(BaseMetric):
    """A higher score at every validation."""

    score = 0

    def process(self, data_batch, data_samples):
        self.results.append(None)

    def compute_metrics(self, results):
        self.score += 1
        return {"score": self.score}


class FillDisk(Hook):
    """Calls a function before an iteration."""

    def __init__(self, iteration, fill):
        self.iteration, self.fill = iteration, fill

    def before_train_iter(self, runner, *args, **kwargs):
        if runner.iter + 1 == self.iteration:
            self.fill()


@pytest.fixture
def killed_in_the_third_writing(monkeypatch, tmp_path):
    """The process ends when the third checkpoint is on the disk to one half."""
    count = 0

    def put(backend, content, path):
        nonlocal count
        count += str(path).endswith(".pth")
        if count < 3 or not str(path).endswith(".pth"):
            durable.write_durably(path, content)
            return
        half = content[: len(content) // 2]
        target = Path(str(path) + durable.UNFINISHED)
        if not isinstance(backend, durable.DurableBackend):
            target = Path(path)
        target.write_bytes(half)
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalBackend, "put", put)
    monkeypatch.setattr(durable.DurableBackend, "put", put)


def test_a_kill_while_writing_leaves_the_one_before(
    run_config, train, tmp_path, killed_in_the_third_writing
):
    run_config.default_hooks.checkpoint.update(save_best=None, **EVERY_TWO)
    train(run_config)
    assert [file.name for file in tmp_path.glob("*.pth")] == ["iter_4.pth"]
    assert torch.load(tmp_path / "iter_4.pth")["meta"]["iter"] == 4
    assert Path((tmp_path / "last_checkpoint").read_text()).name == "iter_4.pth"


def test_the_best_checkpoint_survives_until_the_next_is_whole(
    run_config, train, tmp_path, killed_in_the_third_writing
):
    """The third file is the second epoch's best: rising scores are made up."""
    run_config.default_hooks.checkpoint.update(
        save_best="score", rule="greater", interval=1
    )
    run_config.val_evaluator = {"type": "RisingScore"}
    train(run_config)
    assert [file.name for file in tmp_path.glob("best*")] == ["best_score_epoch_1.pth"]
    torch.load(tmp_path / "best_score_epoch_1.pth")


def test_old_checkpoints_go_and_the_last_is_named(run_config, train, tmp_path):
    run_config.default_hooks.checkpoint.update(EVERY_TWO)
    train(run_config)
    names = {file.name for file in tmp_path.glob("*.pth*")}
    assert {name for name in names if not name.startswith("best")} == {"iter_8.pth"}
    assert len(names) == 2
    assert Path((tmp_path / "last_checkpoint").read_text()).name == "iter_8.pth"


def test_last_checkpoint_is_never_written_in_place(
    run_config, train, tmp_path, monkeypatch
):
    """A kill amid it would leave an empty file."""
    open_file = builtins.open

    def open_unless_in_place(file, mode="r", *args, **kwargs):
        if "w" in mode and str(file) == str(tmp_path / "last_checkpoint"):
            raise AssertionError(f"{file} is written in place")
        return open_file(file, mode, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", open_unless_in_place)
    run_config.default_hooks.checkpoint.update(EVERY_TWO)
    train(run_config)
    assert Path((tmp_path / "last_checkpoint").read_text()).name == "iter_8.pth"


class ResumedFrom(Hook):
    """Puts a run where it is after resuming: the hook knows a last checkpoint."""

    priority = "LOWEST"

    def __init__(self, path):
        self.path = path

    def before_train(self, runner):
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook):
                hook.last_ckpt = self.path


def test_a_checkpoint_that_is_written_again_is_named_again(run_config, train, tmp_path):
    run_config.default_hooks.checkpoint.update(by_epoch=False, interval=8)
    (tmp_path / "last_checkpoint").write_text("older.pth")
    (tmp_path / "last_checkpoint.unfinished").write_text("half")
    train(run_config, hooks=[ResumedFrom(f"{tmp_path}/iter_8.pth")])
    assert Path((tmp_path / "last_checkpoint").read_text()).name == "iter_8.pth"
    assert not list(tmp_path.glob("*.unfinished"))


def test_a_resumption_without_a_checkpoint_starts_anew(run_config, train, tmp_path):
    """As where the only one was damaged, and removed for that."""
    (tmp_path / "last_checkpoint").write_text(f"{tmp_path}/iter_2.pth")
    train(run_config, resume="auto")
    assert torch.load(tmp_path / "epoch_2.pth")["meta"]["epoch"] == 2


@contextmanager
def a_disk_that_can_fill():
    """Gives a function after whose call no file grows beyond a size.

    The limit holds for the whole process, pytest's own output too: it must not outlive
    what is tested.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def put_text(path, content):
    """Write as mmengine does with ``backend_args=dict(backend="durable")``."""
    fileio.put_text(content.decode(), path, backend_args={"backend": "durable"})


@pytest.mark.parametrize("write", [durable.write_durably, put_text])
def test_a_full_disk_leaves_the_file_that_was_there(tmp_path, write):
    path = tmp_path / "checkpoint.pth"
    write(path, b"old")
    with a_disk_that_can_fill() as fill:
        fill(100)
        with pytest.raises(OSError, match="too large"):
            write(path, bytes(1000))
    assert os.listdir(tmp_path) == ["checkpoint.pth"]
    assert path.read_bytes() == b"old"


def test_a_full_disk_ends_a_training_in_one_line(run_config, train, tmp_path):
    run_config.default_hooks.checkpoint.update(save_best=None, **EVERY_TWO)
    with (
        a_disk_that_can_fill() as fill,
        pytest.raises(ConfigError, match=r"were there are whole.*--resume"),
    ):
        train(run_config, hooks=[FillDisk(4, lambda: fill(1000))])
    assert [file.name for file in tmp_path.glob("*.pth*")] == ["iter_2.pth"]
    torch.load(tmp_path / "iter_2.pth")
