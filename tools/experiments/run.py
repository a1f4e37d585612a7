"""Train every cell of a grid: models × data × seeds.

    python tools/experiments/run.py docs/evidence/grid.yml
    python tools/experiments/run.py GRID.yml --jobs 2 --threads 1 --only 'bccd_dino_*'
    python tools/experiments/run.py GRID.yml --list

A cell's result is one JSON in the grid's folder of runs, and a cell that has one is not
trained again. After an interruption the same command goes on where it stopped.
mmdet_lite/experiments/grid.py says how a grid is written.
"""

import argparse
from dataclasses import replace
from fnmatch import fnmatch

from mmdet_lite.cli import exit_on_config_error, positive_int
from mmdet_lite.experiments.grid import read_grid
from mmdet_lite.experiments.run import result_path, run_grid


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("grid", help="YAML file of the grid")
    parser.add_argument(
        "--work-dir",
        default="work_dirs/experiments",
        help="folder for logs and checkpoints",
    )
    parser.add_argument(
        "--jobs", type=positive_int, default=1, help="trainings at a time"
    )
    parser.add_argument(
        "--threads", type=positive_int, help="processor threads of a training"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        default=["*"],
        metavar="PATTERN",
        help="cells whose name, DATA_MODEL_seedN, matches one",
    )
    parser.add_argument(
        "--list", action="store_true", help="say which cells are done, train nothing"
    )
    return parser.parse_args()


def main() -> None:
    """Train what is missing; status 1 if a training failed."""
    args = parse_args()
    with exit_on_config_error():
        grid = read_grid(args.grid)
        cells = tuple(
            cell
            for cell in grid.cells
            if any(fnmatch(cell.name, pattern) for pattern in args.only)
        )
        grid = replace(grid, cells=cells)
        if args.list:
            for cell in cells:
                done = "done" if result_path(grid, cell).exists() else "-"
                print(f"{done:6}{cell.name}")
            return
        failed = run_grid(
            grid,
            args.work_dir,
            args.jobs,
            args.threads,
            # In one write: those of two trainings that start together would mix.
            say=lambda line: print(f"{line}\n", end="", flush=True),
        )
    if failed:
        raise SystemExit(f"{len(failed)} trainings failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
