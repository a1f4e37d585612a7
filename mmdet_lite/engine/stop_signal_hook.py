"""Save and end where the system, or the user, asks a training to end."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from mmengine.dist import all_reduce, barrier, is_distributed
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from .durable_checkpoint_hook import DurableCheckpointHook
from .worker_signals import end_workers, shield_workers

# "Try again later" of sysexits.h: everything is saved, and --resume goes on.
STOPPED = 75
INTERRUPTED = "interrupted.pth"
# Seconds within which SIGTERM is the same one: `timeout` sends it to the process and to
# its group, and what Slurm sends to all comes from torchrun once more.
_SAME = 2.0


@HOOKS.register_module()
class StopSignalHook(Hook):
    """Ends a training after the iteration in which SIGTERM or SIGINT came.

    The checkpoint is ``interrupted.pth`` where the :class:`DurableCheckpointHook` of
    the run saves, or in the work dir of a run without one, and the exit status
    :data:`STOPPED`. During a validation the checkpoint before it is enough, if there is
    one; else it is saved after it. A second signal ends the process at once, unless it
    is SIGTERM twice within two seconds. Workers of the data loaders pass over both.
    """

    # After the iteration is logged and saved.
    priority = "LOWEST"

    def __init__(self) -> None:
        self._signal: signal.Signals | None = None
        self._signalled_at = 0.0
        self._handlers: dict[signal.Signals, Any] = {}
        self._saved_iteration = -1

    def before_train(self, runner: Runner) -> None:
        """Take over the signals, which only a main thread can."""
        if threading.current_thread() is not threading.main_thread():
            return
        process = os.getpid()
        for loop in (runner.train_loop, runner.val_loop):
            if loop is not None:
                shield_workers(loop.dataloader)

        def note(number: int, frame: FrameType | None) -> None:
            # Processes that were forked from this one, and are no workers, go on.
            if os.getpid() != process:
                return
            if self._signal is not None:
                if time.monotonic() - self._signalled_at > _SAME:
                    signal.signal(number, signal.SIG_DFL)
                    signal.raise_signal(number)
                return
            self._signal = signal.Signals(number)
            self._signalled_at = time.monotonic()
            # By the system, which does not wait for Python as a handler does.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            if self._signal is signal.SIGINT:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
            # Of several processes one may be told to end because another failed.
            if is_distributed():
                return
            # The log may be in the middle of a line.
            os.write(
                2,
                f"{self._signal.name}: ends after this iteration, saved; once more to "
                "end at once\n".encode(),
            )

        for name in (signal.SIGTERM, signal.SIGINT):
            self._handlers[name] = signal.signal(name, note)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """A run that goes on is saved up to where it was."""
        if runner.cfg.get("resume"):
            self._saved_iteration = checkpoint["meta"]["iter"]

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note up to where the run is saved."""
        self._saved_iteration = checkpoint["meta"]["iter"]

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Save and end, where a signal came.

        Raises:
            SystemExit: with :data:`STOPPED`.
        """
        if self._told_to_stop():
            if self._saved_iteration != runner.iter + 1:
                self._save(runner)
            self._stop(runner)

    def after_val_iter(self, runner: Runner, *args, **kwargs) -> None:
        """End amid a validation whose epoch is saved; several devices finish it."""
        if is_distributed() or self._saved_iteration != runner.iter:
            return
        if self._told_to_stop():
            self._stop(runner)

    def after_train(self, runner: Runner) -> None:
        """Give the signals back."""
        for name, handler in self._handlers.items():
            signal.signal(name, handler)
        self._handlers.clear()

    def _told_to_stop(self) -> bool:
        """Whether any rank was."""
        told = self._signal is not None
        if is_distributed():
            count = torch.tensor(int(told))
            all_reduce(count)
            told = bool(count)
        return told

    def _save(self, runner: Runner) -> None:
        hooks = [h for h in runner.hooks if isinstance(h, DurableCheckpointHook)]
        if not hooks:
            # What the run has of its own may not save in the middle.
            hooks.append(DurableCheckpointHook())
            hooks[0].before_train(runner)
        for hook in hooks:
            hook.save_now(runner, INTERRUPTED)

    def _stop(self, runner: Runner) -> None:
        runner.logger.warning("saved and stopped; --resume goes on from here")
        # The first that ends may have the others ended, and one of them still writes.
        barrier()
        end_workers()
        raise SystemExit(STOPPED)


@contextmanager
def giving_signals_back(runner: Runner) -> Iterator[None]:
    """Give the signals back where a training fails; mmengine calls no hook then.

    Not where it was told to end, or else SIGTERM once more, before the process has
    ended, would change its status.

    Args:
        runner: its hooks are looked through for :class:`StopSignalHook`.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt):
        for hook in runner.hooks:
            if isinstance(hook, StopSignalHook):
                hook.after_train(runner)
        raise
