"""Time several subjects side by side, so that a noisy machine is fair to all."""

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from ctypes import CDLL
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ..engine import has_bfloat16_instructions

Run = Callable[[], object]

_PROC_SELF = Path("/proc/self")


def time_interleaved(
    subjects: dict[str, Run], repeats: int, device: torch.device
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


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Machine, threads and versions that a measurement belongs to."""
    return {
        "processor": _processor_name(),
        "cores": os.cpu_count(),
        # Machines of one processor name differ in both, and in speed by as much as two.
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "bfloat16_instructions": has_bfloat16_instructions(),
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else "cpu",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {
            name: version(name) for name in ("torch", "mmcv", "mmengine", "mmdet")
        },
        "commit": _commit(),
    }


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _status_bytes(field: str) -> int:
    for line in (_PROC_SELF / "status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def _processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """The commit of the checkout that the package lies in, if it is one."""
    result = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout.strip() or None
