"""Read an annotation file in one process of a run, for all of them.

COCO's training file takes gigabytes as objects, and a machine has as many processes as
GPUs. What a data set keeps of it in the end are two arrays of bytes.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.dist import (
    broadcast,
    broadcast_object_list,
    get_world_size,
    is_main_process,
)
from torch.utils.data import get_worker_info

from ..errors import ConfigError


def has_other_readers() -> bool:
    """Whether there are processes of a run that all build the same data sets."""
    return get_world_size() > 1 and get_worker_info() is None


def load_in_first_process(dataset: BaseDataset, load: Callable[[], None]) -> None:
    """Load a data set in the first process and give the others what that made of it.

    All processes must call it, for the same data set.

    Args:
        dataset: whose attributes ``load`` sets.
        load: reads the file. It is called in the first process only.

    Raises:
        ConfigError: in all processes but the first, where it could not be loaded; in
            the first the error is ``load``'s.
    """
    if not is_main_process():
        _receive(dataset)
        return
    before = dict(vars(dataset))
    try:
        load()
    except Exception as error:
        broadcast_object_list([(str(error), {}, {})])
        raise
    loaded = {
        name: value
        for name, value in vars(dataset).items()
        if name not in before or before[name] is not value
    }
    arrays = {
        name: loaded.pop(name)
        for name in list(loaded)
        if isinstance(loaded[name], np.ndarray)
    }
    layout = {name: (array.dtype, array.shape) for name, array in arrays.items()}
    broadcast_object_list([(None, loaded, layout)])
    for array in arrays.values():
        broadcast(torch.from_numpy(array))


def _receive(dataset: BaseDataset) -> None:
    message: list[Any] = [None]
    broadcast_object_list(message)
    failure, loaded, layout = message[0]
    if failure is not None:
        raise ConfigError(f"the first process could not load the data set: {failure}")
    for name, (dtype, shape) in layout.items():
        loaded[name] = np.empty(shape, dtype)
        broadcast(torch.from_numpy(loaded[name]))
    vars(dataset).update(loaded)
