"""Of several processes the one that failed first says why, and no other."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import os, signal, time
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

def fail(error, status):  # As exit_on_config_error does.
    try:
        raise error
    except Exception as raised:
        get_error_handler().record_exception(raised)
    raise SystemExit(status)

class ConfigError(ValueError): pass
rank = int(os.environ["RANK"])
lost = RuntimeError("Connection closed by peer")
"""
# What each process does, and the status and the first and last line of all.
CASES = {
    "to be mended": (
        "fail(ConfigError('a fault'), 2) if rank else fail(lost, 1)",
        (2, "error: a fault", "error: a fault"),
    ),
    "killed": (
        "os.kill(os.getpid(), signal.SIGKILL) if rank else fail(lost, 1)",
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
