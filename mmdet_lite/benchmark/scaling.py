"""Measure how an encoder's time grows with the image and shrinks with threads."""

from collections.abc import Sequence
from typing import Any

import torch

from .models import measure_models


def measure_scaling(
    name: str,
    sides: Sequence[int],
    threads: Sequence[int],
    device: torch.device,
    repeats: int,
) -> list[dict[str, Any]]:
    """Time one encoder on square images of several sizes, by several threads.

    Args:
        name: subject, as in :func:`~mmdet_lite.benchmark.models.measure_models`.
        sides: of the images, in pixels.
        threads: numbers of processor threads.
        device: where to run.
        repeats: counted runs.

    Returns:
        list: a row for each number of threads and side: those of ``measure_models``,
        with ``threads`` and ``num_tokens``.

    Raises:
        ConfigError: there is no such subject.
    """
    before = torch.get_num_threads()
    rows = []
    try:
        for count in threads:
            torch.set_num_threads(count)
            for side in sides:
                (row,) = measure_models(
                    [name], "encoder", (side, side), device, repeats
                )
                rows.append({**row, "threads": count})
    finally:
        torch.set_num_threads(before)
    return rows
