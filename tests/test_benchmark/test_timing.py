"""Subjects take turns."""

import pytest
import torch

from mmdet_lite.benchmark.measurement import _milliseconds
from mmdet_lite.benchmark.timing import time_interleaved

CPU = torch.device("cpu")


def test_subjects_take_turns_after_a_warm_up():
    order = []
    times = time_interleaved(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3, CPU
    )
    assert order == ["a", "b"] * 4
    for summary in times.values():
        assert len(summary["runs"]) == 3
        assert summary["min"] <= summary["median"] <= summary["max"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_the_time_of_a_gpu_is_that_of_its_own_work():
    device = torch.device("cuda")
    square = torch.randn(8192, 8192, device=device)
    times = time_interleaved(
        {"long": lambda: square @ square, "short": lambda: square[:64] @ square},
        3,
        device,
    )
    # Launching either takes some ten microseconds, as the clock on the wall sees it.
    assert times["long"]["median"] > 10 * times["short"]["median"] > 0


def test_small_times_have_digits():
    assert _milliseconds({"median": 4.56e-5, "min": 4e-5, "max": 1e-4}) == (
        "0.046 (0.040–0.100)"
    )
    assert _milliseconds({"median": 1.23456, "min": 1.0, "max": 2.0}) == (
        "1,234.6 (1,000.0–2,000.0)"
    )
