"""A training that is told to end saves first, and says so by its status."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import time

import pytest
import torch
from mmengine.hooks import CheckpointHook, Hook
from torch.utils.data import DataLoader

from mmdet_lite.engine import STOPPED
from mmdet_lite.engine.worker_signals import end_workers, shield_workers


class Send(Hook):
    """Sends this process a signal in an iteration of training or validation."""

    def __init__(self, number, stage, times=1):
        self.number, self.stage, self.times = number, stage, times

    def before_train_iter(self, runner, *args, **kwargs):
        self.send(self.stage == ("train", runner.iter))

    def before_val_iter(self, runner, *args, **kwargs):
        self.send(self.stage == ("val", runner.epoch))

    def send(self, now):
        if now:
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)


def by_iterations(cfg):
    cfg.train_dataloader.sampler.type = "InfiniteSampler"
    cfg.train_cfg = {"by_epoch": False, "max_iters": 6}
    cfg.param_scheduler = None


@pytest.fixture(autouse=True)
def handlers():
    """Signals are handled after a test as before it."""
    names = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
    before = [signal.getsignal(name) for name in names]
    yield
    # Of workers that were killed PyTorch's handler makes an error of a later test.
    for child in multiprocessing.active_children():
        child.join(60)
    for name, handler in zip(names, before, strict=True):
        signal.signal(name, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_with_a_status_of_its_own(
    run_config, train, tmp_path, number
):
    with pytest.raises(SystemExit) as ended:
        train(run_config, hooks=[Send(number, ("train", 1))])
    assert ended.value.code == STOPPED
    assert [file.name for file in tmp_path.glob("*.pth")] == ["interrupted.pth"]
    assert torch.load(tmp_path / "interrupted.pth")["meta"]["iter"] == 2
    assert (tmp_path / "last_checkpoint").read_text().endswith("interrupted.pth")


def test_a_stopped_run_goes_on_to_the_same_weights(
    run_config, train, final_state, tmp_path
):
    train(run_config)
    expected = final_state("epoch_2.pth")
    for file in tmp_path.glob("*.pth"):
        file.unlink()
    with pytest.raises(SystemExit):
        train(run_config, hooks=[Send(signal.SIGTERM, ("train", 5))])
    train(run_config, resume="auto")
    state = final_state("epoch_2.pth")
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_a_validation_that_was_cut_short_is_made_up_for(run_config, train, tmp_path):
    with pytest.raises(SystemExit) as ended:
        train(run_config, hooks=[Send(signal.SIGTERM, ("val", 2))])
    assert ended.value.code == STOPPED
    assert not (tmp_path / "interrupted.pth").exists()
    with pytest.raises(SystemExit):  # Again, while it is made up for.
        train(run_config, resume="auto", hooks=[Send(signal.SIGTERM, ("val", 2))])
    runner = train(run_config, resume="auto")
    scores, _ = runner.message_hub.get_scalar("val/coco/bbox_mAP_50").data
    assert len(scores) == 2


class CutShort(Hook):
    """Ends a run amid the validation after an iteration; notes the others."""

    def __init__(self, iteration=None):
        self.iteration, self.validated = iteration, []

    def before_val_iter(self, runner, *args, **kwargs):
        if runner.iter == self.iteration:
            raise KeyboardInterrupt

    def after_val_epoch(self, runner, metrics=None):
        self.validated.append(runner.iter)


@pytest.mark.parametrize("cut", [4, 6])
def test_a_validation_between_iterations_is_made_up_for(run_config, train, cut):
    by_iterations(run_config)
    run_config.train_cfg.val_interval = 4
    run_config.default_hooks.checkpoint.update(by_epoch=False, interval=2)
    train(run_config, hooks=[CutShort(cut)])
    resumed = CutShort()
    train(run_config, resume="auto", hooks=[resumed])
    assert resumed.validated == [i for i in (4, 6) if i >= cut]


def test_iterations_that_need_no_validation_are_gone_on_from(run_config, train):
    by_iterations(run_config)
    run_config.train_cfg.val_interval = 4
    run_config.default_hooks.checkpoint.update(by_epoch=False, interval=1)
    train(run_config, kill_at=5)
    resumed = CutShort()
    train(run_config, resume="auto", hooks=[resumed])
    assert resumed.validated == [6]


def test_a_validation_of_an_interval_that_changes_is_made_up_for(run_config, train):
    run_config.train_cfg.update(
        max_epochs=3, val_interval=3, dynamic_intervals=[(2, 1)]
    )
    train(run_config, hooks=[CutShort(8)])
    resumed = CutShort()
    train(run_config, resume="auto", hooks=[resumed])
    assert resumed.validated == [8, 12]


def test_ctrl_c_after_a_signal_ends_at_once(run_config, train):
    """After the first one nothing stands between the system and the process."""
    handlers = []

    class Look(Hook):
        def after_train_iter(self, runner, *args, **kwargs):
            handlers.append(signal.getsignal(signal.SIGINT))

    with pytest.raises(SystemExit):
        train(run_config, hooks=[Send(signal.SIGTERM, ("train", 1)), Look()])
    assert handlers[0] is not signal.SIG_DFL
    assert handlers[1] is signal.SIG_DFL


class Fail(Hook):
    def __init__(self, error):
        self.error = error

    def after_train_iter(self, runner, *args, **kwargs):
        raise self.error


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt()])
@pytest.mark.parametrize("change", [lambda cfg: None, by_iterations])
def test_a_training_that_fails_gives_the_signals_back(run_config, train, change, error):
    """What called it may go on, and is then to end by Ctrl-C."""
    change(run_config)
    names = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(name) for name in names]
    with contextlib.suppress(ValueError):
        train(run_config, hooks=[Fail(error)])
    assert [signal.getsignal(name) for name in names] == before


def test_a_training_that_was_told_to_end_keeps_them(run_config, train):
    """SIGTERM comes again while the process ends, which has its status by then."""
    with pytest.raises(SystemExit):
        train(run_config, hooks=[Send(signal.SIGTERM, ("train", 1))])
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL


class SendToAll(Hook):
    """Has another process signal this one and its data loader's workers."""

    def __init__(self, number, iteration):
        self.number, self.iteration = number, iteration

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.iter == self.iteration:
            self.workers = multiprocessing.active_children()
            processes = [os.getpid(), *(worker.pid for worker in self.workers)]
            subprocess.run(["kill", f"-{self.number}", *map(str, processes)])
            # Long enough for them to end, if that is what they do.
            time.sleep(0.2)
            self.alive = [worker.is_alive() for worker in self.workers]


class OwnCheckpointHook(CheckpointHook):
    """Saves as it likes."""


@pytest.mark.parametrize("own", [None, {"type": OwnCheckpointHook, "interval": 9}])
def test_a_signal_saves_whatever_saves_checkpoints(run_config, train, tmp_path, own):
    run_config.default_hooks.checkpoint = own
    with pytest.raises(SystemExit):
        train(run_config, hooks=[Send(signal.SIGTERM, ("train", 1))])
    assert torch.load(tmp_path / "interrupted.pth")["meta"]["iter"] == 2
    assert train(run_config, resume="auto", kill_at=3).iter == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_workers_too_saves_as_well(run_config, train, tmp_path, number):
    """Slurm, torchrun and a terminal signal every process of a run."""
    run_config.train_dataloader.num_workers = 2
    send = SendToAll(number, 1)
    with pytest.raises(SystemExit) as ended:
        train(run_config, hooks=[send])
    assert ended.value.code == STOPPED
    assert send.alive == [True, True]
    assert torch.load(tmp_path / "interrupted.pth")["meta"]["iter"] == 2


def test_workers_that_start_before_the_training_are_shielded(
    run_config, train, tmp_path
):
    """Where iterations are counted mmengine starts them with the loop."""
    run_config.train_dataloader.num_workers = 2
    by_iterations(run_config)
    send = SendToAll(signal.SIGTERM, 1)
    with pytest.raises(SystemExit) as ended:
        train(run_config, hooks=[send])
    assert ended.value.code == STOPPED
    assert send.alive == [True, True]
    assert torch.load(tmp_path / "interrupted.pth")["meta"]["iter"] == 2


def test_a_worker_that_hangs_ends_when_its_training_says_so():
    """At the end of a run PyTorch waits for it, and then sends SIGTERM."""
    loader = DataLoader(range(4), num_workers=1, worker_init_fn=print)
    shield_workers(loader)
    shield_workers(loader)
    batches = iter(loader)
    next(batches)
    (worker,) = multiprocessing.active_children()
    subprocess.run(["kill", str(worker.pid)])
    worker.join(0.2)
    assert worker.is_alive()
    worker.terminate()
    worker.join(5)
    assert worker.exitcode == 0


def test_sigterm_twice_at_once_is_one(run_config, train, tmp_path):
    """As `timeout` sends it: to the process, and to its group."""
    with pytest.raises(SystemExit) as ended:
        train(run_config, hooks=[Send(signal.SIGTERM, ("train", 1), times=2)])
    assert ended.value.code == STOPPED
    assert (tmp_path / "interrupted.pth").exists()


def test_sigterm_once_more_ends_at_once(run_config, train, monkeypatch):
    class EndedError(Exception):
        pass

    def end(number):
        assert signal.getsignal(number) is signal.SIG_DFL
        raise EndedError

    class SendLater(Hook):
        def after_train_iter(self, runner, *args, **kwargs):
            if runner.iter == 1:
                os.kill(os.getpid(), signal.SIGTERM)
                now = time.monotonic()
                monkeypatch.setattr(time, "monotonic", lambda: now + 3)
                monkeypatch.setattr(signal, "raise_signal", end)
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(EndedError):
        train(run_config, hooks=[SendLater()])


def never_end(started):
    """A worker that no SIGTERM ends, as one that stopped amid its start."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    started.set()
    time.sleep(600)


def test_a_worker_that_takes_no_signal_does_not_keep_a_stopped_training():
    """Python joins its daemons when it ends, without a limit."""
    context = multiprocessing.get_context("fork")
    started = context.Event()
    worker = context.Process(target=never_end, args=(started,), daemon=True)
    worker.start()
    assert started.wait(60)
    end_workers()
    worker.join(60)
    assert worker.exitcode == -signal.SIGKILL
