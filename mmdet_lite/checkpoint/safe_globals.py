"""What the checkpoints that mmengine writes may name, beside weights and plain data.

PyTorch loads weights only, unless a type is declared safe. mmengine 0.10
stores its training log beside the weights, and what hooks and metrics left there, so
neither ``--resume`` nor testing could read back what training had saved. What it stores
is declared here, with what of the standard library and of NumPy holds data and does
nothing; the protection against anything else stays on.
"""

import argparse
import codecs
import io
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

# NumPy pickles the bytes of an array as text, hence the codec.
_TYPES = (HistoryBuffer, ConfigDict, np.ndarray, np.dtype, codecs.encode)
_CONTAINERS = (slice, range, frozenset, type(pathlib.Path()))
# Numbers and text, of any size; no objects, which could be anything.
_DTYPES = tuple({type(np.dtype(kind)) for kind in "?bhilqBHILQefdgFDGUS"})
# Stands where a file names mmengine's class, of which it needs two functions.
_ONE_CYCLE = object()


def declared_globals() -> dict[str, Any]:
    """What is safe, by the name that a file has for it."""
    HistoryBuffer()  # The first one registers the statistics that a log may name.
    # NumPy 2 moved the functions that rebuild arrays and numbers; a checkpoint names
    # them as its writer knew them.
    rebuild_array: Any = np.ndarray(0).__reduce__()[0]
    rebuild_number: Any = np.float64(0).__reduce__()[0]
    rebuilding = {
        f"numpy.{core}.multiarray.{name}": function
        for core in ("core", "_core")
        for function, name in (
            (rebuild_array, "_reconstruct"),
            (rebuild_number, "scalar"),
        )
    }
    one_cycle = OneCycleParamScheduler
    return {
        "builtins.getattr": _look_up,
        f"{one_cycle.__module__}.{one_cycle.__qualname__}": _ONE_CYCLE,
        **rebuilding,
        **{
            f"{kind.__module__}.{kind.__qualname__}": kind
            for kind in (*_TYPES, *_CONTAINERS, *_DTYPES)
        },
    }


def allow_mmengine_checkpoints() -> None:
    """Declare the content of mmengine's checkpoints safe to load."""
    # Under a name: onedl-mmengine declares the bare types while it reads, and withdraws
    # them afterwards whoever else had declared them.
    torch.serialization.add_safe_globals(
        [(value, name) for name, value in declared_globals().items()]
    )


def allow_official_checkpoints() -> None:
    """Declare the one type of the official code's checkpoints that is no plain data.

    They keep the command line of their training, a namespace, beside the weights.
    """
    torch.serialization.add_safe_globals([argparse.Namespace])


def undeclared_globals(file: pathlib.Path | io.BytesIO) -> list[str]:
    """Names of what a checkpoint asks for and is not given, as far as can be told.

    Args:
        file: of ``torch.save``; nothing of it is loaded.

    Returns:
        list: names; none for a file that is no archive of PyTorch.
    """
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file))
    except Exception:  # It reads archives only, and stumbles over what is no pickle.
        return []


def _look_up(owner: Any, name: str) -> Callable:
    """Stand in for ``getattr``, which a few functions are named by and no more.

    A log names the statistics that it can give, and the state of ``OneCycleLR`` the
    curve between two rates.

    Raises:
        TypeError: something else is asked for.
    """
    if owner is HistoryBuffer and name in HistoryBuffer._statistics_methods:
        return HistoryBuffer._statistics_methods[name]
    if owner is _ONE_CYCLE and name in ("_annealing_cos", "_annealing_linear"):
        return getattr(OneCycleParamScheduler, name)
    raise TypeError(f"a checkpoint may not look up {name!r} of {owner!r}")
