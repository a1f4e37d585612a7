"""The machine and the software that a measurement belongs to."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ..runtime import has_bfloat16_instructions


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
