"""List everything that is wrong with a COCO-format data set, and what to do about it.

    python tools/dataset_converters/check_data.py CONFIG
    python tools/dataset_converters/check_data.py --data-root data/mine

Reads annotation files and every image, as training would. Ends with status 0 where
nothing is wrong, 1 where something is, 2 where it cannot be told.
"""

import argparse
from functools import partial

from mmdet.utils import register_all_modules
from mmengine.config import Config

import mmdet_lite  # noqa: F401  (registers its modules)
from mmdet_lite.cli import (
    add_config_options,
    add_problem_options,
    exit_on_config_error,
    own_data_sources,
    print_problems,
    read_config,
)
from mmdet_lite.datasets.data_sources import data_sources
from mmdet_lite.datasets.image_problems import all_image_problems, quick_image_problems
from mmdet_lite.errors import ConfigError


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "config", nargs="?", help="path of a config, or mmdet::PATH, whose data to read"
    )
    add_config_options(parser)
    parser.add_argument(
        "--data-root", metavar="DIR", help="a data set that no config names yet"
    )
    parser.add_argument(
        "--train-file", metavar="FILE", help="its training annotations, inside of DIR"
    )
    parser.add_argument(
        "--val-file", metavar="FILE", help="its validation annotations, inside of DIR"
    )
    parser.add_argument(
        "--splits",
        nargs="+",
        choices=["train", "val", "test"],
        help="data loaders of the config to check; default train val",
    )
    parser.add_argument(
        "--quick", action="store_true", help="as before a training, without pictures"
    )
    add_problem_options(parser)
    return parser.parse_args()


def refuse_flags(args: argparse.Namespace) -> None:
    """Refuse what belongs to the other way to name data."""
    if args.config is None:
        flags, needed = ("cfg_options", "splits"), "a config"
    else:
        flags, needed = ("train_file", "val_file"), "--data-root"
    for flag in flags:
        if getattr(args, flag) is not None:
            raise ConfigError(f"--{flag.replace('_', '-')} needs {needed}")


def main() -> None:
    """Check, list the problems, end with their status."""
    args = parse_args()
    register_all_modules(init_default_scope=True)
    with exit_on_config_error():
        if (args.config is None) == (args.data_root is None):
            raise ConfigError("name a config, or a folder by --data-root")
        refuse_flags(args)
        if args.config is not None:
            cfg = read_config(args.config, args.cfg_options)
            sources = data_sources(cfg, args.splits or ["train", "val"])
        else:
            cfg = Config()
            sources = own_data_sources(args.data_root, args.train_file, args.val_file)
        if not sources:
            raise ConfigError("there is no data set in COCO's format on this machine")
        look_at = quick_image_problems
        if not args.quick:
            look_at = partial(all_image_problems, num_workers=args.workers)
        num_faults = print_problems(cfg, sources, look_at, args.examples)
    if num_faults:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
