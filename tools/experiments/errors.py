"""Break the errors of a trained detector down into kinds, by TIDE.

    pip install tidecv
    python tools/experiments/errors.py CONFIG CHECKPOINT
    python tools/experiments/errors.py CONFIG CHECKPOINT --json FILE \
        --cfg-options model.test_cfg.nms=None

Tests the checkpoint on the config's test set and says what AP50 would gain if one kind
of error were mended: wrong class, place, both, duplicates, background, missed objects.
"""

import argparse
from pathlib import Path

import torch
from mmdet.utils import register_all_modules
from mmengine.device import get_device

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
from mmdet_lite.experiments.errors import KINDS, measure_errors


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_arguments(parser)
    parser.add_argument("checkpoint", help="path of the checkpoint")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there")
    return parser.parse_args()


def main() -> None:
    """Test, print what each kind costs, write the file."""
    args = parse_args()
    register_all_modules(init_default_scope=True)
    with exit_on_config_error():
        if args.json:
            require_writable_file("--json", args.json)
        cfg = read_config(args.config, args.cfg_options)
        require_checkpoint(args.checkpoint)
        check_data(cfg, splits=("test",))
        errors = measure_errors(cfg, args.checkpoint)
    print(f"AP50 {errors['AP50']:.1f}; mended, it would gain")
    for kind, name in KINDS.items():
        print(f"{name:>16}: {errors['cost'][kind]:.1f}")
    if args.json:
        measurement = {
            **describe_run(torch.device(get_device())),
            "config": args.config,
            "options": args.cfg_options,
            "checkpoint": Path(args.checkpoint).name,
            **errors,
        }
        save_measurement(args.json, measurement)


if __name__ == "__main__":
    main()
