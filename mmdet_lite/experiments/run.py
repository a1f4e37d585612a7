"""Train the cells of a grid, each in a process of its own, and keep what came out."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from mmengine.device import get_device

from ..benchmark.environment import describe_environment
from ..benchmark.measurement import load_measurement, save_measurement
from ..checkpoint.resumable import LAST_CHECKPOINT, named_last
from ..errors import ConfigError
from .grid import Cell, Grid
from .record import record_of, retest_record_of

_TOOLS = Path(__file__).parents[1] / ".mim" / "tools"
_LOG = "output.log"
_PARTS = "parts.json"


def run_grid(
    grid: Grid,
    work_dir: str | Path,
    jobs: int = 1,
    threads: int | None = None,
    say: Callable[[str], object] = print,
) -> list[str]:
    """Train every cell that has no result yet.

    A cell that was interrupted goes on from its last checkpoint; one whose result lies
    in ``grid.runs`` is not trained again.

    Args:
        grid: what to train.
        work_dir: folder for logs and checkpoints, one folder a cell.
        jobs: cells to train at a time.
        threads: processor threads of each; None for an even share of the cores.
        say: called with a line for each cell that starts and ends.

    Returns:
        list: names of the cells whose training failed.
    """
    threads = threads or max(1, (os.cpu_count() or 1) // jobs)
    todo = [cell for cell in grid.cells if not result_path(grid, cell).exists()]
    say(f"{len(grid.cells)} cells, {len(todo)} to train")

    def train(cell: Cell) -> str | None:
        say(f"{cell.name}: starts")
        try:
            record = train_cell(cell, Path(work_dir) / cell.name, threads)
        except (RuntimeError, ConfigError) as error:
            say(f"{cell.name}: {error}")
            return cell.name
        save_measurement(result_path(grid, cell), record)
        say(f"{cell.name}: AP {record['AP']:.1f} in {record['seconds'] / 60:.0f} min")
        return None

    with ThreadPoolExecutor(jobs) as pool:
        return [name for name in pool.map(train, todo) if name]


def retest_grid(
    grid: Grid,
    work_dir: str | Path,
    runs: str | Path,
    options: dict[str, Any],
    threads: int | None = None,
    say: Callable[[str], object] = print,
) -> list[str]:
    """Test every trained cell once more, with other settings.

    Args:
        grid: what was trained.
        work_dir: folder of the trainings.
        runs: folder for the results, which reports read as those of ``grid.runs``.
        options: what to change of the configs, as ``--cfg-options``.
        threads: processor threads; None for all.
        say: called with a line for each cell.

    Returns:
        list: names of the cells whose test failed.
    """
    failed = []
    for cell in grid.cells:
        target = Path(runs) / f"{cell.name}.json"
        if target.exists() or not result_path(grid, cell).exists():
            continue
        try:
            record = retest_cell(
                cell,
                Path(work_dir) / cell.name,
                load_measurement(result_path(grid, cell)),
                options,
                threads or os.cpu_count() or 1,
            )
        except (RuntimeError, ConfigError) as error:
            say(f"{cell.name}: {error}")
            failed.append(cell.name)
            continue
        save_measurement(target, record)
        say(f"{cell.name}: AP {record['AP']:.1f}")
    return failed


def result_path(grid: Grid, cell: Cell) -> Path:
    """Where the result of a cell lies."""
    return grid.runs / f"{cell.name}.json"


def train_cell(cell: Cell, work_dir: str | Path, threads: int) -> dict[str, Any]:
    """Train one cell, or go on with it, as ``tools/train.py`` does.

    Args:
        cell: what to train.
        work_dir: folder for its log and checkpoints.
        threads: processor threads.

    Returns:
        dict: as :func:`mmdet_lite.experiments.record.record_of`.

    Raises:
        ConfigError: the config cannot be read, or the folder holds the training of
            another config.
        RuntimeError: the training failed; the message names its log.
    """
    work_dir = Path(work_dir)
    # The runner writes its own copy of the config straight into the work dir.
    config = work_dir / "given" / "cell.py"
    config.parent.mkdir(parents=True, exist_ok=True)
    text = cell.read_config().pretty_text
    if config.exists() and config.read_text() != text:
        raise ConfigError(
            f"{work_dir} holds the training of another config; remove it to start anew"
        )
    config.write_text(text)
    resume = ["--resume"] if (work_dir / LAST_CHECKPOINT).exists() else []
    parts = _read_parts(work_dir)
    part: dict[str, Any] = {
        "started": time.time(),
        "environment": {
            **describe_environment(torch.device(get_device())),
            "threads": threads,
        },
    }
    # Written now as well: a kill may reach this process too.
    save_measurement(work_dir / _PARTS, [*parts, part])
    returncode, peak_memory = _run_tool(
        "train.py", [config, *resume], work_dir, threads
    )
    part |= {"seconds": time.time() - part["started"], "peak_memory": peak_memory}
    parts.append(part)
    save_measurement(work_dir / _PARTS, parts)
    if returncode:
        raise RuntimeError(f"failed with status {returncode}; see {work_dir / _LOG}")
    return record_of(cell, work_dir, parts)


def retest_cell(
    cell: Cell,
    work_dir: str | Path,
    trained: dict[str, Any],
    options: dict[str, Any],
    threads: int,
) -> dict[str, Any]:
    """Test the last checkpoint of a trained cell with other settings.

    Args:
        cell: what was trained.
        work_dir: its folder.
        trained: the record of its training.
        options: what to change of its config, as ``--cfg-options``.
        threads: processor threads.

    Returns:
        dict: as :func:`mmdet_lite.experiments.record.retest_record_of`.

    Raises:
        ConfigError: there is no checkpoint.
        RuntimeError: the test failed; the message names its log.
    """
    work_dir = Path(work_dir)
    checkpoint = named_last(work_dir)
    if checkpoint is None:
        raise ConfigError(f"{work_dir} holds no checkpoint to test")
    retest = work_dir / "retest"
    shutil.rmtree(retest, ignore_errors=True)
    config = retest / "given" / "cell.py"
    config.parent.mkdir(parents=True)
    # What the cell says of a whole setting gives way to what is said of its parts.
    kept = {
        name: value
        for name, value in cell.options.items()
        if not any(changed.startswith(f"{name}.") for changed in options)
    }
    changed_cell = replace(cell, options={**kept, **options})
    config.write_text(changed_cell.read_config().pretty_text)
    weights = work_dir / Path(checkpoint).name
    returncode, _ = _run_tool("test.py", [config, weights], retest, threads)
    if returncode:
        raise RuntimeError(f"failed with status {returncode}; see {retest / _LOG}")
    return retest_record_of(trained, retest, options)


def _run_tool(
    tool: str, arguments: Sequence[str | Path], work_dir: Path, threads: int
) -> tuple[int, int]:
    """Run a tool with its output in the log; status and peak memory in bytes."""
    command = [sys.executable, str(_TOOLS / tool), *map(str, arguments)]
    command += ["--work-dir", str(work_dir)]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
    }
    with (work_dir / _LOG).open("a") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    # Linux counts in KiB.
    return process.returncode, usage.ru_maxrss * 1024


def _read_parts(work_dir: Path) -> list[dict[str, Any]]:
    file = work_dir / _PARTS
    parts = load_measurement(file) if file.exists() else []
    for part in parts:
        if "seconds" not in part:
            # It was killed with the grid, after the last that it logged.
            end = (work_dir / _LOG).stat().st_mtime
            part |= {"seconds": end - part["started"], "peak_memory": 0}
    return parts
