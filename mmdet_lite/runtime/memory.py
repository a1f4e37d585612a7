"""What a process does with freed memory, and the most that it held."""

import ctypes
import sys
from pathlib import Path

import torch

# Parameters of mallopt(3) in glibc's <malloc.h>.
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_THRESHOLD = -3
_M_MMAP_MAX = -4

_PROC_SELF = Path("/proc/self")
_STATUS = _PROC_SELF / "status"


def keep_freed_memory() -> bool:
    """Tell the C library to reuse freed blocks of any size.

    glibc gives large blocks back to the kernel when they are freed, and the kernel
    clears every page before it hands it out again. A model on the CPU allocates the
    same large tensors in every iteration, so a quarter of its time can go there. The
    process keeps its peak memory until it ends, and so do those that it forks. It is
    for models on a processor; with a GPU it was never measured, and the tools leave it.

    Returns:
        bool: whether the C library took the settings; other libraries than glibc
        do not.
    """
    return _set_malloc({_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: -1, _M_TOP_PAD: 64 << 20})


def give_freed_memory_back() -> bool:
    """Tell the C library to hand freed blocks of a tensor's size back at once.

    The process then holds what is in use and no more, so that the most that it held is
    what a run needs: by default glibc keeps part of what was freed, another one from
    run to run. It is for measuring memory, after all that is timed.

    Returns:
        bool: whether the C library took the settings, as :func:`keep_freed_memory`.
    """
    return _set_malloc(
        {
            _M_MMAP_MAX: 1 << 16,
            _M_MMAP_THRESHOLD: 1 << 16,
            _M_TRIM_THRESHOLD: 1 << 16,
            _M_TOP_PAD: 0,
        }
    )


def _set_malloc(settings: dict[int, int]) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(parameter, value) == 1 for parameter, value in settings.items())


def reset_peak_memory(device: torch.device) -> int | None:
    """Start to look for the peak of memory anew.

    Args:
        device: a GPU, of which PyTorch's own memory counts, or the processor, where
            all that the process holds does.

    Returns:
        int | None: bytes that are held now; None where the system does not tell.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    try:
        ctypes.CDLL(None).malloc_trim(0)
        # Writing 5 sets the peak back to what the process holds now.
        (_PROC_SELF / "clear_refs").write_text("5")
        return _bytes_in(_STATUS, "VmRSS")
    except (AttributeError, OSError):
        return None


def read_peak_memory(device: torch.device) -> int | None:
    """Most bytes held at a time since :func:`reset_peak_memory`.

    Returns:
        int | None: bytes; None where the system does not tell.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        return _bytes_in(_STATUS, "VmHWM")
    except OSError:
        return None


def read_free_memory(device: torch.device) -> int | None:
    """Bytes that are free, on a processor those that can be made so.

    Returns:
        int | None: bytes; None where the system does not tell.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        return _bytes_in(Path("/proc/meminfo"), "MemAvailable")
    except OSError:
        return None


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _bytes_in(file: Path, field: str) -> int:
    for line in file.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{file} has no {field}")
