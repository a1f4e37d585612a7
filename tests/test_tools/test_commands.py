"""Every command says what it takes, and refuses all else in one line."""

import subprocess
import sys

import pytest
from python_process import run_python
from repository_root import REPOSITORY

COMMANDS = sorted(
    str(path.relative_to(REPOSITORY))
    for path in (REPOSITORY / "tools").rglob("*.py")
    if "__main__" in path.read_text()
)
# Other tests start these in an interpreter of their own, which takes seconds.
STARTED_ELSEWHERE = {
    "tools/analysis_tools/get_flops.py",
    "tools/benchmark.py",
    "tools/deployment/export.py",
    "tools/deployment/infer.py",
    "tools/dist_launch.py",
    "tools/setup_env.py",
    "tools/test.py",
    "tools/train.py",
}


def test_the_commands_are_found():
    assert {"tools/demo.py", "tools/experiments/report.py"} < set(COMMANDS)
    assert set(COMMANDS) > STARTED_ELSEWHERE


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_starts_and_says_what_it_takes(repository, command):
    if command in STARTED_ELSEWHERE:
        result = run_python(command, "--help", cwd=repository)
    else:
        result = subprocess.run(
            [sys.executable, "-W", "ignore", command, "--help"],
            cwd=repository,
            capture_output=True,
            text=True,
            check=False,
        )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.startswith("usage: ")


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_command_does_not_take_is_one_line(repository, command):
    result = run_python(command, "--no-such-option", cwd=repository)
    assert result.returncode == 2, result.stderr[-3000:]
    assert result.stdout == ""
    # The usage stands before it.
    (error,) = (line for line in result.stderr.splitlines() if "error: " in line)
    assert result.stderr.endswith(f"{error}\n")
    assert "Traceback" not in result.stderr
