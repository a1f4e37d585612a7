"""Read the config of a run from the command line."""

import argparse
import os
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.hub import get_config

from ..errors import ConfigError


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that training and testing share."""
    parser.add_argument(
        "config", help="path of a config, or mmdet::PATH for one that mmdet ships"
    )
    parser.add_argument(
        "--work-dir", help="folder for logs and results; default work_dirs/CONFIG_NAME"
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=DictAction,
        metavar="KEY=VALUE",
        help="override settings of the config, for example model.type=LiteDINO; "
        'lists as KEY="[a,b]" or KEY=a,b',
    )
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm", "mpi"],
        default="none",
        help="job launcher",
    )
    # torch.distributed.launch passes the first form or the second by its version.
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)


def load_config(args: argparse.Namespace) -> Config:
    """Read the config and apply the shared arguments.

    Args:
        args: parsed arguments of :func:`add_config_arguments`.

    Raises:
        ConfigError: there is no such config.
    """
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    try:
        if "::" in args.config:
            cfg = get_config(args.config)
        else:
            cfg = Config.fromfile(args.config)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no config {args.config}: {error}") from error
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get("work_dir") is None:
        cfg.work_dir = str(Path("work_dirs") / Path(args.config.split("::")[-1]).stem)
    return cfg
