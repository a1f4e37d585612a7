"""Let PyTorch's protected loading read the checkpoints that mmengine writes.

PyTorch 2.6 and later load weights only, unless a type is declared safe. mmengine 0.10
stores its training log beside the weights, so neither ``--resume`` nor testing could
read back what training had saved. Exactly what it stores is declared here; the
protection against anything else stays on.
"""

import argparse
import codecs
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.utils import digit_version


def allow_mmengine_checkpoints() -> None:
    """Declare the content of mmengine's checkpoints safe to load."""
    if digit_version(torch.__version__) < digit_version("2.6"):
        return  # Earlier versions do not protect, and cannot be told aliases.
    HistoryBuffer()  # The first one registers the statistics that a log may name.
    # NumPy 2 moved the functions that rebuild arrays and numbers; a checkpoint names
    # them as its writer knew them.
    rebuild_array: Any = np.ndarray(0).__reduce__()[0]
    rebuild_number: Any = np.float64(0).__reduce__()[0]
    aliases = [
        (function, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for function, name in (
            (rebuild_array, "_reconstruct"),
            (rebuild_number, "scalar"),
        )
    ]
    dtypes = [type(np.dtype(kind)) for kind in (np.float64, np.int64, np.bool_)]
    # NumPy pickles the bytes of an array as text, hence the codec.
    types = [HistoryBuffer, np.ndarray, np.dtype, *dtypes, codecs.encode]
    torch.serialization.add_safe_globals(
        [
            (_statistics_method, "builtins.getattr"),
            *aliases,
            # Under a name: onedl-mmengine declares the bare types while it reads, and
            # withdraws them afterwards whoever else had declared them.
            *((kind, f"{kind.__module__}.{kind.__qualname__}") for kind in types),
        ]
    )


def allow_official_checkpoints() -> None:
    """Declare the one type of the official code's checkpoints that is no plain data.

    They keep the command line of their training, a namespace, beside the weights.
    """
    torch.serialization.add_safe_globals([argparse.Namespace])


def _statistics_method(owner: Any, name: str) -> Callable:
    """Stand in for ``getattr``, which a log uses to name its methods and no more.

    Raises:
        TypeError: something else than a statistics method of a log is asked for.
    """
    if owner is not HistoryBuffer or name not in HistoryBuffer._statistics_methods:
        raise TypeError(f"a checkpoint may not look up {name!r} of {owner!r}")
    return HistoryBuffer._statistics_methods[name]
