"""Of several processes the one that failed first says why, and no other."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

# What each process does, by its rank.
TO_MEND = """
    with exit_on_config_error():
        if rank == 1:
            raise ConfigError("the config has a fault")
        time.sleep(0.5)
        raise RuntimeError("Connection closed by peer")
"""
KILLED = """
    with exit_on_config_error():
        if rank == 0:
            raise RuntimeError("Connection closed by peer")
        os.kill(os.getpid(), signal.SIGKILL)
"""
BROKEN = """
    with exit_on_config_error():
        if rank == 1:
            raise KeyError("a fault of the program")
        time.sleep(60)
"""


@pytest.mark.parametrize(
    ("body", "status", "first", "last"),
    [
        (TO_MEND, 2, "error: the config has a fault", "error: the config has a fault"),
        (KILLED, 137, *["error: process 1 was ended by SIGKILL"] * 2),
        (
            BROKEN,
            1,
            "error: process 1: Traceback",
            "KeyError: 'a fault of the program'",
        ),
    ],
)
def test_the_first_failure_is_told_once(
    repository, tmp_path, body, status, first, last
):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal, time\n"
        "from mmdet_lite.cli.exit import exit_on_config_error\n"
        "from mmdet_lite.errors import ConfigError\n"
        "rank = int(os.environ['RANK'])\n"
        f"if True:{body}"
    )
    command = [sys.executable, "-W", "ignore", "tools/dist_launch.py", "--standalone"]
    result = subprocess.run(
        [*command, "--nproc-per-node=2", script],
        cwd=repository,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = result.stderr.strip().splitlines()
    assert result.returncode == status
    assert lines[0].startswith(first)
    assert lines[-1] == last
    assert result.stderr.count("error: ") == 1
    assert "Connection closed" not in result.stderr
