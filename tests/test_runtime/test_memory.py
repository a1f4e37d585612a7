"""Freed memory is reused: the kernel hands out no fresh pages for it."""

import sys

import pytest
from python_process import run_python

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


@pytest.fixture
def page_faults(tmp_path):
    """Function that counts the new pages of a process that keeps or frees memory."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)

    def count(mode):
        result = run_python(script, mode)
        assert result.returncode == 0, result.stderr
        return int(result.stdout.split()[-1])

    return count


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_large_blocks_are_reused(page_faults):
    assert page_faults("keep") * 5 < page_faults("give back")
