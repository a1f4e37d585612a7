"""Files of the official Lite-DINO to files of mmengine and back."""

from pathlib import Path

from mmdet.datasets import CocoDataset

from ...version import __version__
from ..files import read_mmengine, read_official, write_checkpoint
from .conversion import (
    COCO_CATEGORY_IDS,
    NUM_OFFICIAL_CLASSES,
    Conversion,
    convert_official,
    to_official,
)

# Where a converted file keeps what mmdet's model has no place for.
LEFTOVERS = "official_leftovers"


def convert_official_file(
    source: str | Path,
    target: str | Path,
    keep_all_classes: bool = False,
    ema: bool = False,
) -> tuple[Conversion, int | None]:
    """Convert a checkpoint of the official code to one of mmengine.

    Args:
        source: path of the official checkpoint.
        target: path to write to: ``state_dict``, ``meta`` with the names of the
            classes, and what the way back needs.
        keep_all_classes: keep the rows of classes that are no category of COCO's.
        ema: convert the averaged weights instead of the last ones.

    Returns:
        tuple: the conversion, and x of ``HxLy`` if the file tells it, else None.

    Raises:
        ConfigError: the file does not exist, is no official checkpoint, or holds
            weights that do not convert.
    """
    weights, arguments = read_official(source, ema)
    conversion = convert_official(weights, keep_all_classes=keep_all_classes)
    num_classes = len(conversion.state_dict["bbox_head.cls_branches.0.bias"])
    write_checkpoint(
        {
            "meta": {
                "dataset_meta": _dataset_meta(num_classes),
                "mmdet_lite_version": __version__,
                "converted_from": Path(source).name,
            },
            "state_dict": conversion.state_dict,
            LEFTOVERS: conversion.leftovers,
        },
        target,
    )
    return conversion, getattr(arguments, "enc_scale", None)


def restore_official_file(
    source: str | Path, target: str | Path, keep_all_classes: bool = False
) -> Conversion:
    """Convert a checkpoint of mmengine to one of the official code.

    Args:
        source: path of the checkpoint, converted before or trained here.
        target: path to write to, with the weights under ``model``.
        keep_all_classes: the class layers have those rows.

    Raises:
        ConfigError: the file does not exist, is no checkpoint, or holds weights that
            do not convert.
    """
    checkpoint = read_mmengine(source)
    conversion = to_official(
        checkpoint["state_dict"],
        keep_all_classes=keep_all_classes,
        leftovers=checkpoint.get(LEFTOVERS),
    )
    write_checkpoint({"model": conversion.state_dict}, target)
    return conversion


def _dataset_meta(num_classes: int) -> dict:
    """Names of the classes as mmdet reads them from a checkpoint."""
    coco = CocoDataset.METAINFO
    if num_classes == len(COCO_CATEGORY_IDS):
        return {"classes": coco["classes"], "palette": coco["palette"]}
    names = [str(index) for index in range(num_classes)]
    if num_classes == NUM_OFFICIAL_CLASSES:
        for category, name in zip(COCO_CATEGORY_IDS, coco["classes"], strict=True):
            names[category] = name
    return {"classes": tuple(names)}
