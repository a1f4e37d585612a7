"""Let PyTorch's protected loading read the checkpoints that mmengine writes.

PyTorch 2.6 loads weights only, unless a type is declared safe. mmengine 0.10 stores its
training log beside the weights, so neither ``--resume`` nor testing could read back
what training had saved. Exactly the types that it stores are declared here; the
protection against anything else stays on.
"""

import codecs

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer

# NumPy 2 moved the function that rebuilds arrays; a checkpoint names it as its writer
# knew it.
try:
    from numpy._core import multiarray
except ImportError:
    from numpy.core import multiarray


def allow_mmengine_checkpoints() -> None:
    """Declare the types of mmengine's checkpoints safe to load."""
    rebuild_array = multiarray._reconstruct
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            np.ndarray,
            np.dtype,
            type(np.dtype(np.float64)),
            type(np.dtype(np.int64)),
            multiarray.scalar,
            # NumPy pickles arrays as text encoded by this function.
            codecs.encode,
            (rebuild_array, "numpy.core.multiarray._reconstruct"),
            (rebuild_array, "numpy._core.multiarray._reconstruct"),
            (multiarray.scalar, "numpy.core.multiarray.scalar"),
            (multiarray.scalar, "numpy._core.multiarray.scalar"),
        ]
    )
