"""The memory of a process is kept case by case, with where it was measured."""

import ctypes
import json
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33 or newer"
    ),
]


def test_the_file_says_what_each_process_held(repository, tmp_path):
    file = tmp_path / "steady.json"
    script = ".dev_scripts/steady_memory.py"
    subprocess.run(
        [sys.executable, "-W", "ignore", script, file, "--images", "3", "--every", "2"],
        cwd=repository,
        check=True,
    )
    kept = json.loads(file.read_text())
    assert kept["command"] == f"python {script} {file} --images 3 --every 2"
    assert kept["threads"] == kept["environment"]["threads"] == 1
    assert kept["sides"] == [64, 224]
    cases = ["as it is", "freed memory kept", "without oneDNN's cache"]
    assert list(kept["runs"]) == cases
    for rows in kept["runs"].values():
        assert [row["images"] for row in rows] == [1, 2, "trimmed"]
        assert all(0 < row["allocated"] < row["resident"] for row in rows)
