"""Freed memory is reused: the kernel hands out no fresh pages for it."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource
import sys
import torch
from mmdet_lite.runtime.memory import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(20):  # Until the holes that blocks leave are large enough for blocks.
    torch.zeros(16_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.zeros(16_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode):
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, mode],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(result.stdout.split()[-1])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_large_blocks_are_reused():
    assert page_faults("keep") * 5 < page_faults("give back")
