"""Subjects take turns, and memory is what a run adds."""

import sys

import pytest
import torch

from mmdet_lite.benchmark.timing import peak_memory, time_interleaved

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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_peak_memory_is_what_a_run_holds_at_most():
    def run():
        torch.ones(25_000_000)  # 100 MB, freed at once
        torch.ones(5_000_000)

    assert 90e6 < peak_memory(run, CPU) < 140e6
    assert peak_memory(lambda: None, CPU) < 20e6


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_what_was_freed_before_does_not_count():
    blocks = [torch.ones(250_000) for _ in range(200)]
    del blocks[::2]  # The holes are 100 MB that the C library may keep.
    assert 90e6 < peak_memory(lambda: torch.ones(25_000_000), CPU) < 110e6
