"""Memory is what a run adds, whatever ran before it."""

import sys
from functools import partial

import pytest
import torch

from mmdet_lite.benchmark.peak_memory import peak_memories
from mmdet_lite.runtime import keep_freed_memory, memory

CPU = torch.device("cpu")

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="reads /proc"
)


def two_blocks():
    def run():
        torch.ones(25_000_000)  # 100 MB, freed at once
        torch.ones(5_000_000)

    return run


def nothing():
    return lambda: None


def with_holes():
    """Let the process keep what it frees, as optimising a model does, and free."""
    keep_freed_memory()
    blocks = [torch.ones(250_000) for _ in range(200)]
    del blocks[::2]
    return partial(torch.ones, 25_000_000)


def test_it_is_what_a_run_holds_at_most():
    most, least, holes = peak_memories([two_blocks, nothing, with_holes], CPU)
    assert 90e6 < most < 110e6
    assert least < 5e6
    # The holes are 100 MB that the run could have used again.
    assert 90e6 < holes < 110e6


def test_this_process_keeps_what_it_frees_as_before(monkeypatch):
    settings = []
    monkeypatch.setattr(memory, "_set_malloc", settings.append)
    peak_memories([nothing], CPU)
    assert settings == []
