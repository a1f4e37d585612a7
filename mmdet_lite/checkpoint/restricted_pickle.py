"""A pickle that names plain data only, for versions of PyTorch that protect too little.

Before 2.6 ``torch.load`` protects only where it is told to, and then knows no names
under which mmengine's checkpoints ask for what is safe. Given as its ``pickle_module``
this one takes what PyTorch's own protection takes, and what
:mod:`~mmdet_lite.checkpoint.safe_globals` declares.
"""

import pickle
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from functools import cached_property
from typing import IO, Any

import torch
from torch import _weights_only_unpickler

from .safe_globals import declared_globals


class Unpickler(pickle.Unpickler):
    """Looks nothing up but what is safe."""

    def find_class(self, module: str, name: str) -> Any:
        """What a file names.

        Raises:
            pickle.UnpicklingError: it is not declared safe.
        """
        # torch.save writes the names of Python 2.
        module, name = NAME_MAPPING.get(
            (module, name), (IMPORT_MAPPING.get(module, module), name)
        )
        if f"{module}.{name}" not in self._allowed:
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name} is not plain data")
        return self._allowed[f"{module}.{name}"]

    @cached_property
    def _allowed(self) -> dict[str, Any]:
        of_user = [
            kind for kind in torch.serialization.get_safe_globals() if callable(kind)
        ]
        return {
            **_weights_only_unpickler._get_allowed_globals(),
            **{f"{kind.__module__}.{kind.__qualname__}": kind for kind in of_user},
            **declared_globals(),
        }


def load(file: IO[bytes], **options: Any) -> Any:
    """Read one object, as ``pickle.load`` does."""
    return Unpickler(file, **options).load()
