"""Follow activations and gradients through a detector's layers.

    python tools/experiments/follow.py CONFIG
    python tools/experiments/follow.py CONFIG --checkpoint epoch_8.pth --json out.json
    python tools/experiments/follow.py CONFIG --cfg-options model.type=DINO

Runs a few training batches forward and backward, trains nothing, and prints for every
encoder and decoder layer how concentrated its attention is, how far its samples wander,
how much it changes the tokens and which gradient reaches them.
"""

import argparse
from pathlib import Path

import torch
from mmdet.utils import register_all_modules
from mmengine.logging import MMLogger

import mmdet_lite  # noqa: F401  (registers its modules)
from mmdet_lite.benchmark.measurement import describe_run, save_measurement
from mmdet_lite.checkpoint.files import require_checkpoint
from mmdet_lite.cli import (
    add_model_arguments,
    check_data,
    exit_on_config_error,
    positive_int,
    read_config,
    require_writable_file,
)
from mmdet_lite.experiments.follow import COLUMNS, follow


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_arguments(parser)
    parser.add_argument("--checkpoint", help="weights; default: initialised anew")
    parser.add_argument(
        "--batches",
        type=positive_int,
        default=4,
        help="training batches to average over",
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there")
    return parser.parse_args()


def main() -> None:
    """Follow, print a table, write the file."""
    args = parse_args()
    register_all_modules(init_default_scope=True)
    MMLogger.get_instance("mmengine").setLevel("ERROR")
    with exit_on_config_error():
        if args.json:
            require_writable_file("--json", args.json)
        cfg = read_config(args.config, args.cfg_options)
        check_data(cfg, splits=("train",))
        if args.checkpoint is not None:
            require_checkpoint(args.checkpoint)
        rows = follow(cfg, args.checkpoint, args.batches, args.seed)
    for column, meaning in COLUMNS.items():
        print(f"{column:>14}: {meaning}")
    print(f"\n{'layer':20}", *(f"{column:>14}" for column in COLUMNS))
    for row in rows:
        numbers = (row[column] for column in COLUMNS)
        cells = ("-" if number is None else f"{number:.3f}" for number in numbers)
        print(f"{row['layer']:20}", *(f"{cell:>14}" for cell in cells))
    if args.json:
        measurement = {
            **describe_run(torch.device("cpu")),
            "config": args.config,
            "options": args.cfg_options,
            "checkpoint": args.checkpoint and Path(args.checkpoint).name,
            "batches": args.batches,
            "seed": args.seed,
            "layers": rows,
        }
        save_measurement(args.json, measurement)


if __name__ == "__main__":
    main()
