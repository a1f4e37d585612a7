"""Python in a process of its own, with PyTorch and mmdet imported already.

A new interpreter takes five seconds to import them. Here one process does, once, and
every other is a fork of it: its arguments, folder, environment, output and status are
its own, its imports are not. So each command is also tested once as users start it.
"""

import multiprocessing
import os
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        *("mmdet.apis", "mmdet.datasets", "mmdet.engine", "mmdet.evaluation"),
        *("mmdet.models", "mmdet.visualization", "mmdet_lite"),
    ]
)


def run_python(
    *arguments: object,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
) -> CompletedProcess:
    """What ``subprocess.run`` returns of Python with these arguments.

    Args:
        *arguments: a script's path, or ``"-m"`` and a module, and what that is given.
        cwd: the folder that it runs in; None for the current one.
        env: its whole environment; None for the current one. What is read while
            PyTorch is imported, such as OMP_NUM_THREADS, comes too late.
    """
    command = [str(argument) for argument in arguments]
    with TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("stdout", "stderr")]
        process = PROCESSES.Process(
            target=_run,
            args=(command, str(cwd or Path.cwd()), dict(env or os.environ), files),
        )
        process.start()
        process.join()
        stdout, stderr = (file.read_text() for file in files)
    return CompletedProcess(command, process.exitcode, stdout, stderr)


def _run(
    command: list[str], cwd: str, environment: dict[str, str], files: list[Path]
) -> None:
    for number, file in enumerate(files, 1):
        with file.open("wb") as stream:
            os.dup2(stream.fileno(), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    if command[0] == "-m":
        sys.argv = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        sys.path.insert(0, str(Path(command[0]).resolve().parent))
        runpy.run_path(command[0], run_name="__main__")
