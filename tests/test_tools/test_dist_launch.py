"""Of several processes the one that failed first says why, and no other."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

# Process 0 is lost when process 1 has failed, not before: torchrun would end the other.
SCRIPT = """
import os, time
from pathlib import Path
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

def fail(error, status):  # As exit_on_config_error does.
    try:
        raise error
    except Exception as raised:
        get_error_handler().record_exception(raised)
    failed.touch()
    os._exit(status)

def lose():
    while not failed.exists():
        time.sleep(0.001)
    fail(RuntimeError("Connection closed by peer"), 1)

class ConfigError(ValueError): pass
rank = int(os.environ["RANK"])
failed = Path(__file__).with_name("failed")
"""
# What each process does, and the status and the first and last line of all.
CASES = {
    "to be mended": (
        "fail(ConfigError('a fault'), 2) if rank else lose()",
        (2, "error: a fault", "error: a fault"),
    ),
    "killed": (
        "(failed.touch(), os.kill(os.getpid(), 9)) if rank else lose()",
        (137, *["error: process 1 was ended by SIGKILL"] * 2),
    ),
    "broken": (
        "fail(KeyError('a bug'), 1) if rank else time.sleep(60)",
        (1, "error: process 1: Traceback", "KeyError: 'a bug'"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_first_failure_is_told_once(repository, tmp_path, case):
    body, (status, first, last) = CASES[case]
    script = tmp_path / "script.py"
    script.write_text(f"{SCRIPT}{body}\n")
    command = ["tools/dist_launch.py", "--standalone", "--nproc-per-node=2", script]
    result = subprocess.run(
        [sys.executable, *command],
        cwd=repository,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = result.stderr.strip().splitlines()
    assert result.returncode == status, result.stderr
    assert lines[0].startswith(first)
    assert lines[-1] == last
    assert result.stderr.count("error: ") == 1
    assert "Connection closed" not in result.stderr
