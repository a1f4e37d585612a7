"""The most memory that a run needs, whatever ran before it."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor

import torch
from mmdet.utils import register_all_modules
from mmengine.logging import MMLogger

from ..runtime.memory import (
    give_freed_memory_back,
    read_peak_memory,
    reset_peak_memory,
    synchronize,
)
from .timing import Run


def peak_memories(
    builders: Sequence[Callable[[], Run]], device: torch.device
) -> list[int | None]:
    """Most bytes that each run holds at a time beyond what it held before it started.

    On a GPU PyTorch's own allocations count. On a processor it is what a process holds,
    one that times nothing and gives freed blocks back at once: blocks that the C
    library keeps from other runs would count or be used again, more of them or fewer.

    Args:
        builders: each builds what is run: once to warm up, once to measure. For a
            processor they must be such that ``pickle`` takes them.
        device: where they run.

    Returns:
        list: bytes; None where the system does not tell.
    """
    if device.type != "cpu":
        return [peak_memory(build(), device) for build in builders]
    if reset_peak_memory(device) is None:
        return [None] * len(builders)
    with ProcessPoolExecutor(
        1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(torch.get_num_threads(),),
    ) as process:
        return list(process.map(_peak_memory_of, builders))


def peak_memory(run: Run, device: torch.device) -> int | None:
    """Most bytes that a run held at a time beyond what was held before.

    Returns:
        int | None: bytes; None where the system does not tell.
    """
    before = reset_peak_memory(device)
    run()
    synchronize(device)
    peak = read_peak_memory(device)
    return None if before is None or peak is None else max(0, peak - before)


def _start(num_threads: int) -> None:
    give_freed_memory_back()
    register_all_modules(init_default_scope=True)
    MMLogger.get_instance("mmengine").setLevel("ERROR")
    torch.set_num_threads(num_threads)


def _peak_memory_of(build: Callable[[], Run]) -> int | None:
    torch.manual_seed(0)
    run = build()
    # Optimising a model lets the process keep freed memory.
    give_freed_memory_back()
    run()
    return peak_memory(run, torch.device("cpu"))
