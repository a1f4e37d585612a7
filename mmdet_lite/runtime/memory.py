"""Keep freed memory inside the process instead of handing it back to the system."""

import ctypes
import sys

# Parameters of mallopt(3) in glibc's <malloc.h>.
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_MAX = -4


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
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, 64 << 20))
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)
