"""What is kept of a training: metrics by epoch, losses, cost, and where it ran."""

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
from ..run_logs import (
    METRICS,
    evaluations_of,
    last_by_step,
    read_test_log,
    read_training_log,
)
from .grid import Cell


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
        where no box has that size or ``metric_items`` leaves it out, but for ``AP``;
        ``by_class``, its AP of each class where the evaluator is ``classwise``;
        ``epochs``; ``by_epoch``, the metrics after every epoch; ``losses``, pairs of
        iteration and loss; ``seconds`` in all, ``peak_memory`` of the host in bytes,
        ``threads``, ``interruptions``; ``image_shape`` of the test images, ``gflops``,
        ``encoder_gflops`` and ``params`` at that shape; ``environment``; ``config`` as
        text.

    Raises:
        ConfigError: there is no evaluation with AP in the logs, or the images are not
            resized.
    """
    cfg = cell.read_config()
    lines = read_training_log(work_dir)
    evaluations = last_by_step(evaluations_of(lines, work_dir), METRICS["AP"])
    by_epoch = [{"epoch": line["step"], **_metrics_of(line)} for line in evaluations]
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
    found = evaluations_of(read_test_log(work_dir), work_dir)[-1]
    return {
        **{name: trained[name] for name in ("model", "data", "seed")},
        **_metrics_of(found),
        "by_class": _by_class(found),
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


def _image_shape(cfg: Config) -> tuple[int, int]:
    """(height, width) that the test pipeline resizes to."""
    size = resized_to(pipeline_steps(cfg.val_dataloader, "pipeline"))
    if size is None:
        raise ConfigError("no step of val_dataloader's pipeline resizes the images")
    width, height = size
    return height, width
