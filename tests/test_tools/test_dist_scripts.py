"""The launchers of several processes pass on what they are given."""

import os
import subprocess

import pytest


@pytest.fixture
def launch(repository, tmp_path):
    """Function that runs a launcher; its output is what Python was given."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)

    def launch(script, *arguments):
        return subprocess.run(
            [f"tools/{script}", *arguments],
            cwd=repository,
            env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )

    return launch


@pytest.mark.parametrize(
    ("script", "tool", "files"),
    [
        ("dist_train.sh", "train.py", ["CONFIG"]),
        ("dist_test.sh", "test.py", ["CONFIG", "CHECKPOINT"]),
    ],
)
def test_processes_and_arguments_are_passed_on(launch, script, tool, files):
    options = ["--work-dir", "a folder", "--cfg-options", "a=b c"]
    result = launch(script, *files, "2", *options)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        *("tools/dist_launch.py", "--nproc-per-node=2", f"tools/{tool}"),
        *(*files, "--launcher", "pytorch", *options),
    ]


@pytest.mark.parametrize(
    ("script", "arguments"),
    [("dist_train.sh", ["CONFIG"]), ("dist_test.sh", ["CONFIG", "CHECKPOINT"])],
)
def test_a_missing_argument_is_one_line(launch, script, arguments):
    result = launch(script, *arguments)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"usage: tools/{script} CONFIG")
