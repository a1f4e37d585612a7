"""Train the cells of a grid, each in a process of its own, and keep what came out."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .grid import Cell, Grid
from .record import record_of

_TRAIN = Path(__file__).parents[1] / ".mim" / "tools" / "train.py"
_LOG = "output.log"
_PARTS = "parts.json"


def run_grid(
    grid: Grid,
    work_dir: str | Path,
    jobs: int = 1,
    threads: int | None = None,
    say=print,
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
        _write(result_path(grid, cell), record)
        say(f"{cell.name}: AP {record['AP']:.1f} in {record['seconds'] / 60:.0f} min")
        return None

    with ThreadPoolExecutor(jobs) as pool:
        return [name for name in pool.map(train, todo) if name]


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
    command = [sys.executable, str(_TRAIN), str(config), "--work-dir", str(work_dir)]
    if (work_dir / "last_checkpoint").exists():
        command.append("--resume")
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
    }
    start = time.time()
    with (work_dir / _LOG).open("a") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    parts = _read_parts(work_dir)
    parts.append(
        {
            "seconds": time.time() - start,
            # Linux counts in KiB.
            "peak_memory": usage.ru_maxrss * 1024,
            "threads": threads,
        }
    )
    _write(work_dir / _PARTS, parts)
    if process.returncode:
        raise RuntimeError(
            f"failed with status {process.returncode}; see {work_dir / _LOG}"
        )
    return record_of(cell, work_dir, parts)


def _read_parts(work_dir: Path) -> list[dict[str, Any]]:
    file = work_dir / _PARTS
    return json.loads(file.read_text()) if file.exists() else []


def _write(path: Path, content: Any) -> None:
    """Write JSON so that a reader sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    temporary.replace(path)
