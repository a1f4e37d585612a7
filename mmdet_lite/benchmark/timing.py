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

# On a GPU a buffer of this size is written before each run, several times: no cache
# holds its inputs then, and for as long, about a millisecond on a large one, the
# processor launches the run's kernels ahead.
_BYTES_BEFORE_A_RUN = 1 << 30
_WRITES_BEFORE_A_RUN = 4


def time_interleaved(
    subjects: Mapping[str, Run], repeats: int, device: torch.device
) -> dict[str, dict[str, Any]]:
    """Run every subject once in turn, ``repeats`` times over, after one warm-up round.

    On a GPU a run's time is the GPU's, from when it has done all before the run, its
    caches full of something else, until it has done the run: with the gaps in which it
    waits for the processor, but for those that the processor was ahead of.

    Args:
        subjects: what to time, by name.
        repeats: counted runs of each subject.
        device: where they run.

    Returns:
        dict: for each name ``median``, ``min`` and ``max`` in seconds and ``runs``, all
        of them in order.
    """
    measure = _timer(device)
    times: dict[str, list[float]] = {name: [] for name in subjects}
    for round_index in range(repeats + 1):
        for name, run in subjects.items():
            seconds = measure(run)
            if round_index > 0:
                times[name].append(seconds)
    return {
        name: {
            "median": statistics.median(runs),
            "min": min(runs),
            "max": max(runs),
            "runs": runs,
        }
        for name, runs in times.items()
    }


def _timer(device: torch.device) -> Callable[[Run], float]:
    """A function that runs a subject and returns its seconds."""
    if device.type != "cuda":

        def measure(run: Run) -> float:
            synchronize(device)
            start = time.perf_counter()
            run()
            synchronize(device)
            return time.perf_counter() - start

        return measure
    buffer = torch.empty(_BYTES_BEFORE_A_RUN, dtype=torch.uint8, device=device)

    def measure_on_gpu(run: Run) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        with torch.cuda.device(device):
            synchronize(device)
            for _ in range(_WRITES_BEFORE_A_RUN):
                buffer.zero_()
            start.record()
            run()
            end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3

    return measure_on_gpu


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
