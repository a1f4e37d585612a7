"""Time several subjects side by side, so that a noisy machine is fair to all."""

import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from typing import Any

import torch

from ..ops.accelerate import mmcv_operator
from ..runtime.memory import synchronize

Run = Callable[[], Any]


def time_interleaved(
    subjects: Mapping[str, Run], repeats: int, device: torch.device
) -> dict[str, dict[str, Any]]:
    """Run every subject once in turn, ``repeats`` times over, after one warm-up round.

    Args:
        subjects: what to time, by name.
        repeats: counted runs of each subject.
        device: synchronised before and after each run.

    Returns:
        dict: for each name ``median``, ``min`` and ``max`` in seconds and ``runs``, all
        of them in order.
    """
    times: dict[str, list[float]] = {name: [] for name in subjects}
    for round_index in range(repeats + 1):
        for name, run in subjects.items():
            synchronize(device)
            start = time.perf_counter()
            run()
            synchronize(device)
            if round_index > 0:
                times[name].append(time.perf_counter() - start)
    return {
        name: {
            "median": statistics.median(runs),
            "min": min(runs),
            "max": max(runs),
            "runs": runs,
        }
        for name, runs in times.items()
    }


def run_as(run: Run, fast: bool, bfloat16: bool, device_type: str) -> Any:
    """Run a subject.

    Args:
        run: the subject.
        fast: whether mmcv's own attention runs on this package's plain operator.
        bfloat16: whether under autocast to it.
        device_type: of the autocast.
    """
    with ExitStack() as stack:
        stack.enter_context(mmcv_operator(fast))
        stack.enter_context(
            torch.autocast(device_type, torch.bfloat16) if bfloat16 else nullcontext()
        )
        return run()
