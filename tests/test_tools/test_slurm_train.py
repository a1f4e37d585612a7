"""The Slurm launcher asks for what it was told to, and passes the rest on."""

import os
import subprocess

import pytest


@pytest.fixture
def srun(repository, tmp_path):
    """Function that runs the launcher; returns the arguments that srun was given."""
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)

    def run(*arguments, **variables):
        return subprocess.run(
            [repository / "tools" / "slurm_train.sh", *arguments],
            env={"PATH": f"{tmp_path}:{os.environ['PATH']}", **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_processes_gpus_and_arguments_are_passed_on(srun):
    result = srun(
        *("part", "job", "CONFIG", "work", "--resume", "--cfg-options", "a=b c"),
        GPUS="16",
        SRUN_ARGS="--time=24:00:00 --qos=long",
    )
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert lines[:2] == ["-p", "part"]
    for line in (
        *("--job-name=job", "--gres=gpu:8", "--ntasks=16", "--ntasks-per-node=8"),
        *("--kill-on-bad-exit=1", "--time=24:00:00", "--qos=long"),
    ):
        assert line in lines
    tool = lines.index("python")
    assert lines[tool + 2].endswith("tools/train.py")
    assert lines[tool + 3 :] == [
        *("CONFIG", "--work-dir=work", "--launcher", "slurm"),
        *("--resume", "--cfg-options", "a=b c"),
    ]


def test_no_gpu_is_asked_for_on_processors(srun):
    result = srun("part", "job", "CONFIG", "work", GPUS="2", GRES="")
    assert "--ntasks=2" in result.stdout
    assert "gres" not in result.stdout


def test_a_missing_argument_is_one_line(srun):
    result = srun("part", "job", "CONFIG")
    assert result.returncode == 2
    assert result.stderr.startswith("usage: ")
