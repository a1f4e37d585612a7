"""Count from which maps a two-stage DETR takes its queries.

    python tools/experiments/proposals.py CONFIG
    python tools/experiments/proposals.py CONFIG --checkpoint epoch_8.pth --json FILE

Predicts the config's test set and prints which level's tokens made the queries, and
those of them whose proposal is on an object, and how many an object has. Several to
each object, all from the largest map, are what a training looks like that finds objects
twice.
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
    read_config,
    require_writable_file,
)
from mmdet_lite.experiments.proposals import IOU_ON_OBJECT, count_proposals


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_arguments(parser)
    parser.add_argument("--checkpoint", help="weights; default: initialised anew")
    parser.add_argument("--seed", type=int, default=0, help="of the initialisation")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there")
    return parser.parse_args()


def main() -> None:
    """Count, print, write the file."""
    args = parse_args()
    register_all_modules(init_default_scope=True)
    MMLogger.get_instance("mmengine").setLevel("ERROR")
    with exit_on_config_error():
        if args.json:
            require_writable_file("--json", args.json)
        cfg = read_config(args.config, args.cfg_options)
        if args.checkpoint is not None:
            require_checkpoint(args.checkpoint)
        check_data(cfg, splits=("test",))
        counted = count_proposals(cfg, args.checkpoint, args.seed)
    print(f"{counted['objects']} objects in {counted['images']} images, each with")
    print(f"{counted['per_object']:.2f} proposals of an IoU from {IOU_ON_OBJECT} on;")
    print(f"{counted['without']:.1%} have none.\n")
    print(f"{'':8}{'queries':>12}{'on objects':>12}")
    shares = zip(counted["queries"], counted["levels"], strict=True)
    for level, (of_all, on_objects) in enumerate(shares):
        print(f"level {level:<2}{of_all:12.1%}{on_objects:12.1%}")
    if args.json:
        measurement = {
            **describe_run(torch.device("cpu")),
            "config": args.config,
            "options": args.cfg_options,
            "checkpoint": args.checkpoint and Path(args.checkpoint).name,
            "seed": args.seed,
            **counted,
        }
        save_measurement(args.json, measurement)


if __name__ == "__main__":
    main()
