"""Subjects take turns."""

import torch

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
