"""What is kept of a training: metrics by epoch, losses, cost, and where it ran."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.device import get_device

from ..benchmark.environment import describe_environment
from ..datasets.pipelines import pipeline_steps, resized_to
from ..errors import ConfigError
from ..flops.counter import count_flops
from .grid import Cell

METRICS = {
    "AP": "coco/bbox_mAP",
    "AP50": "coco/bbox_mAP_50",
    "AP75": "coco/bbox_mAP_75",
    "APs": "coco/bbox_mAP_s",
    "APm": "coco/bbox_mAP_m",
    "APl": "coco/bbox_mAP_l",
}
"""Our names of COCO's metrics, and mmdet's."""


def record_of(
    cell: Cell, work_dir: str | Path, parts: list[dict[str, Any]]
) -> dict[str, Any]:
    """Put together what a finished training left.

    Args:
        cell: what was trained.
        work_dir: its folder, with mmengine's logs.
        parts: for each time that it ran ``seconds``, ``peak_memory`` in bytes and
            ``environment``.

    Returns:
        dict: ``model``, ``data``, ``seed``; the last epoch's metrics in per cent, None
        where no box has that size or ``metric_items`` leaves it out; ``by_class``, its
        AP of each class where the evaluator is ``classwise``; ``epochs``; ``by_epoch``,
        the metrics after every epoch; ``losses``, pairs of iteration and loss;
        ``seconds`` in all, ``peak_memory`` of the host in bytes, ``threads``,
        ``interruptions``;
        ``image_shape`` of the test images, ``gflops``, ``encoder_gflops`` and
        ``params`` at that shape; ``environment``; ``config`` as text.

    Raises:
        ConfigError: there is no evaluation in the logs, or the images are not resized.
    """
    cfg = cell.read_config()
    lines = log_lines(work_dir)
    evaluations = last_by_step(lines, METRICS["AP"])
    by_epoch = [{"epoch": line["step"], **_metrics_of(line)} for line in evaluations]
    if not by_epoch:
        raise ConfigError(f"{work_dir} has no evaluation in its logs")
    register_all_modules(init_default_scope=True)
    image_shape = _image_shape(cfg)
    counts = count_flops(cfg, image_shape)
    last = by_epoch[-1]
    return {
        "model": cell.model,
        "data": cell.data,
        "seed": cell.seed,
        **{name: last[name] for name in METRICS},
        "by_class": _by_class(evaluations[-1]),
        "epochs": last["epoch"],
        "by_epoch": by_epoch,
        "losses": [
            [line["step"], round(line["loss"], 4)]
            for line in last_by_step(lines, "loss")
        ],
        "seconds": round(sum(part["seconds"] for part in parts), 1),
        "peak_memory": max(part["peak_memory"] for part in parts),
        "threads": parts[-1]["environment"]["threads"],
        "interruptions": len(parts) - 1,
        "image_shape": list(image_shape),
        "gflops": round(counts["total"] / 1e9, 3),
        "encoder_gflops": round(counts["encoder"] / 1e9, 3),
        "params": counts["params"],
        "environment": parts[-1]["environment"],
        "config": cfg.pretty_text,
    }


def retest_record_of(
    trained: dict[str, Any], work_dir: str | Path, options: dict[str, Any]
) -> dict[str, Any]:
    """Put together what a test of a trained cell left.

    Args:
        trained: what :func:`record_of` gave of the training.
        work_dir: folder of the test, with mmengine's log.
        options: what was changed of the cell's config for it.

    Returns:
        dict: ``model``, ``data``, ``seed`` and ``encoder_gflops`` of the training; of
        the test the metrics, ``by_class`` and ``environment``, as :func:`record_of` has
        them; and ``options``.

    Raises:
        ConfigError: there is no evaluation in the logs.
    """
    lines = [
        json.loads(file.read_text()) for file in sorted(Path(work_dir).glob("*/*.json"))
    ]
    evaluations = [line for line in lines if METRICS["AP"] in line]
    if not evaluations:
        raise ConfigError(f"{work_dir} has no evaluation in its logs")
    return {
        **{name: trained[name] for name in ("model", "data", "seed")},
        **_metrics_of(evaluations[-1]),
        "by_class": _by_class(evaluations[-1]),
        "encoder_gflops": trained["encoder_gflops"],
        "options": options,
        "environment": describe_environment(torch.device(get_device())),
    }


def _metrics_of(line: dict[str, Any]) -> dict[str, float | None]:
    """In per cent; None for COCO's -1, no object of that size, and if not asked for."""
    return {
        name: None if line.get(key, -1) < 0 else round(100 * line[key], 1)
        for name, key in METRICS.items()
    }


def _by_class(line: dict[str, Any]) -> dict[str, float | None]:
    """AP of each class in per cent, None without an object; mmdet has to be asked."""
    return {
        key.removeprefix("coco/").removesuffix("_precision"): None
        if math.isnan(number)
        else round(100 * number, 1)
        for key, number in line.items()
        if key.endswith("_precision")
    }


def log_lines(work_dir: str | Path) -> list[dict[str, Any]]:
    """All that mmengine logged; an interrupted training left several files."""
    files = sorted(Path(work_dir).glob("*/vis_data/scalars.json"))
    return [json.loads(line) for file in files for line in file.open()]


def last_by_step(lines: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Lines that have the key; what an interruption repeated counts once."""
    by_step = {line["step"]: line for line in lines if key in line}
    return [by_step[step] for step in sorted(by_step)]


def _image_shape(cfg: Config) -> tuple[int, int]:
    """(height, width) that the test pipeline resizes to."""
    size = resized_to(pipeline_steps(cfg.val_dataloader, "pipeline"))
    if size is None:
        raise ConfigError("no step of val_dataloader's pipeline resizes the images")
    width, height = size
    return height, width
