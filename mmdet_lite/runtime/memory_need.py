"""What memory a model will need for an image, before it needs it."""

import sys
import weakref
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmengine.model import BaseModel
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .aside import aside
from .memory import read_free_memory

# Pixels of the largest image that mmdet's configs of COCO make.
USUAL_PIXELS = 1333**2
# Sides of the images that the model is tried on.
_SIDES = (256, 512)


def warn_of_large_images(model: BaseModel) -> None:
    """Have a model say what memory an unusually large image takes, and then take it.

    It says so on standard error, for the first image of more than
    :data:`USUAL_PIXELS` and for each that is larger again by half. An image counts as
    the model gets it: resized, and padded to those of its batch.

    Args:
        model: a detector of mmdet, for predictions; it gets a hook.
    """
    said = 0

    def look(model: BaseModel, args: tuple, kwargs: dict[str, Any]) -> None:
        nonlocal said
        named = dict(zip(("inputs", "data_samples"), args, strict=False)) | kwargs
        inputs = named["inputs"]
        pixels = inputs.shape[-2] * inputs.shape[-1]
        # While it is tried on small images this is called as well.
        if pixels <= max(USUAL_PIXELS, 1.5 * said) or not named.get("data_samples"):
            return
        said = pixels
        with aside():
            print(_warning(model, inputs, named["data_samples"]), file=sys.stderr)

    model.register_forward_pre_hook(look, with_kwargs=True)


def _warning(
    model: BaseModel, inputs: Tensor, data_samples: list[DetDataSample]
) -> str:
    height, width = inputs.shape[-2:]
    images = f"{len(inputs)} images" if len(inputs) > 1 else "an image"
    try:
        need = memory_need(model, inputs, data_samples)
    # A model may refuse small images, for too few tokens: that ends no prediction.
    except Exception as error:
        return (
            f"warning: {images} of {height}×{width} pixels: what the model will hold "
            f"cannot be told ({type(error).__name__} on small images)"
        )
    if inputs.device.type == "cpu":
        growth = ", for which processes grew by 1.5 to 2.3 times as much"
    else:
        growth = ""
    free = read_free_memory(inputs.device)
    left = "" if free is None else f"; {free / 2**30:.1f} GiB are free"
    return (
        f"warning: {images} of {height}×{width} pixels: the model will hold about "
        f"{need / 2**30:.1f} GiB of tensors at a time{growth}{left}. "
        "A Resize in the test pipeline makes images smaller; docs/inference.md cuts "
        "them into slices"
    )


def memory_need(
    model: BaseModel, inputs: Tensor, data_samples: list[DetDataSample]
) -> float:
    """Bytes of the tensors that a prediction holds at its peak, beside the weights.

    The model predicts on black images of two small sizes. What is held after each of
    its operations is linear in the pixels, and so the peak is known for any size. What
    kernels need inside does not count, nor does memory that is free but in pieces:
    docs/reliability.md has what processes took.

    Args:
        model: a detector of mmdet, for predictions.
        inputs: (batch, channels, height, width), as its ``forward`` takes them. Only
            the shape matters.
        data_samples: of the batch.

    Returns:
        float: bytes, with those of ``inputs``.
    """
    small, large = (_held_over_time(model, inputs, data_samples, n) for n in _SIDES)
    factor = (inputs[0, 0].numel() - _SIDES[0] ** 2) / (_SIDES[1] ** 2 - _SIDES[0] ** 2)
    # What follows on the detections, such as NMS, may differ in length, but is small.
    peak = max(a + (b - a) * factor for a, b in zip(small, large, strict=False))
    return peak + inputs.nbytes


def _held_over_time(
    model: BaseModel, inputs: Tensor, samples: list[DetDataSample], side: int
) -> list[int]:
    """Bytes after each operation on square images of a side."""
    samples = deepcopy(samples)
    for sample in samples:
        shapes = ("img_shape", "ori_shape", "pad_shape", "batch_input_shape")
        sample.set_metainfo(
            {**dict.fromkeys(shapes, (side, side)), "scale_factor": (1.0, 1.0)}
        )
    black = inputs.new_zeros(*inputs.shape[:2], side, side)
    with torch.no_grad(), _HeldTensors() as held:
        model(black, samples, mode="predict")
    return held.over_time


class _HeldTensors(TorchDispatchMode):
    """Adds up the tensors that are alive among those that were made in it.

    Attributes:
        over_time: bytes after each operation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.over_time: list[int] = []
        self._held = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {s._cdata for s in _storages((args, kwargs))}
        outputs = func(*args, **(kwargs or {}))
        for storage in _storages(outputs):
            self._add(storage, given)
        self.over_time.append(self._held)
        return outputs

    def _add(self, storage: torch.UntypedStorage, given: set[int]) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in given or key in self._known:
            return
        self._known.add(key)
        self._held += size
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._held -= size


def _storages(values: Any) -> Iterator[torch.UntypedStorage]:
    for leaf in tree_leaves(values):
        # Weights in oneDNN's own order have none that can be seen.
        if isinstance(leaf, Tensor) and leaf.layout is torch.strided:
            yield leaf.untyped_storage()
