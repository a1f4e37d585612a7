"""Signals that a whole process group gets leave the data loader's workers alone."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from functools import partial

from torch.utils.data import DataLoader


def shield_workers(loader: DataLoader) -> None:
    """Let the workers that a data loader starts from now on end with it alone.

    SIGTERM of Slurm, torchrun or a service manager, and Ctrl-C, reach every process of
    a run. A worker that ends by it takes the iteration with it which the training has
    to finish and save.

    Args:
        loader: it is changed, once, where the system tells who sent a signal, which
            macOS does not.
    """
    if not hasattr(signal, "sigwaitinfo"):
        return
    initialize = loader.worker_init_fn
    if not (isinstance(initialize, partial) and initialize.func is _start_shielded):
        loader.worker_init_fn = partial(_start_shielded, initialize)


def end_workers() -> None:
    """End what is left of the data loaders' workers, whatever state they are in.

    Python waits for them when it ends, without a limit, and one that stopped in the
    middle of its start takes no SIGTERM.
    """
    # PyTorch takes the end of a worker for an error.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


def _start_shielded(initialize: Callable[[int], None] | None, worker: int) -> None:
    """Run in a worker, before it loads anything."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Every thread that is started later keeps it blocked, too.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_obey_parent, daemon=True).start()
    if initialize is not None:
        initialize(worker)


def _obey_parent() -> None:
    """End when the training says so: PyTorch ends a worker that hangs by SIGTERM."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
