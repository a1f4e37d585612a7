"""Read the config of a run from the command line."""

import argparse
import os
from pathlib import Path

from mmengine.config import Config, DictAction

from ..config_file import read_config
from ..runtime.launcher import require_launcher


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that training and testing share."""
    add_model_arguments(parser)
    parser.add_argument(
        "--work-dir", help="folder for logs and results; default work_dirs/CONFIG_NAME"
    )
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm", "mpi"],
        default="none",
        help="job launcher",
    )
    # torch.distributed.launch passes the first form or the second by its version.
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a config and change it."""
    parser.add_argument(
        "config", help="path of a config, or mmdet::PATH for one that mmdet ships"
    )
    add_config_options(parser)


def add_config_options(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """Add the argument that changes a config.

    Args:
        parser: it is changed.
        required: whether the command is of no use without.
    """
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=_KeyValueAction,
        required=required,
        metavar="KEY=VALUE",
        help="override settings of the config, for example model.type=LiteDINO; "
        'lists as KEY="[a,b]" or KEY=a,b',
    )


def load_config(args: argparse.Namespace) -> Config:
    """Read the config and apply the shared arguments.

    Args:
        args: parsed arguments of :func:`add_config_arguments`.

    Raises:
        ConfigError: as :func:`read_config`; or the launcher did not start this process.
    """
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    require_launcher(args.launcher)
    cfg = read_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get("work_dir") is None:
        cfg.work_dir = str(Path("work_dirs") / Path(args.config.split("::")[-1]).stem)
    return cfg


class _KeyValueAction(DictAction):
    """mmengine's, which refuses what is no KEY=VALUE in one line."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        """Add the settings to those before."""
        for text in values:
            if not text.partition("=")[0] or "=" not in text:
                parser.error(f"{option_string} takes KEY=VALUE, but got {text!r}")
        try:
            super().__call__(parser, namespace, values, option_string)
        except AssertionError as error:
            parser.error(f"{option_string}: {error}")
