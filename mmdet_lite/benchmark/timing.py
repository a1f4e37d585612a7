"""Time several subjects side by side, so that a noisy machine is fair to all."""

import statistics
import time
from collections.abc import Callable, Mapping
from ctypes import CDLL
from pathlib import Path
from typing import Any

import torch

Run = Callable[[], Any]

_PROC_SELF = Path("/proc/self")


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
            _synchronize(device)
            start = time.perf_counter()
            run()
            _synchronize(device)
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


def peak_memory(run: Run, device: torch.device) -> int | None:
    """Most bytes that a run held at a time beyond what was held before.

    Counts what PyTorch allocates on a GPU, and what the process holds otherwise.

    Returns:
        int | None: bytes; None where the system does not tell.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        _synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    try:
        trim = CDLL(None).malloc_trim
        trim(0)
        # Writing 5 sets the peak back to what the process holds now.
        (_PROC_SELF / "clear_refs").write_text("5")
    except (AttributeError, OSError):
        return None
    before = _status_bytes("VmRSS")
    run()
    return max(0, _status_bytes("VmHWM") - before)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _status_bytes(field: str) -> int:
    for line in (_PROC_SELF / "status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")
