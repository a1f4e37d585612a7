"""Read the config of a run from the command line."""

import argparse
import os
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.hub import get_config

from ..errors import ConfigError
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


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add the argument that changes a config."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=_KeyValueAction,
        metavar="KEY=VALUE",
        help="override settings of the config, for example model.type=LiteDINO; "
        'lists as KEY="[a,b]" or KEY=a,b',
    )


def read_config(name: str, options: dict[str, Any] | None = None) -> Config:
    """Read a config and override settings of it.

    Args:
        name: path of a config, or ``mmdet::PATH`` for one that mmdet ships.
        options: what ``--cfg-options`` gave.

    Raises:
        ConfigError: there is no such config, it cannot be read, or a setting to be
            overridden is inside of one that has no parts.
    """
    try:
        cfg = get_config(name) if "::" in name else Config.fromfile(name)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no config {name}: {error}") from error
    except Exception as error:  # A config is code and may raise anything.
        raise ConfigError(f"config {name} cannot be read: {_said(error)}") from error
    try:
        cfg.merge_from_dict(options or {})
    except Exception as error:
        raise ConfigError(f"--cfg-options: {_said(error)}") from error
    return cfg


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


def _said(error: Exception) -> str:
    """What an error of a config says, in one line."""
    text = " ".join(str(error).split()) or "no reason given"
    # mmengine's own error of this type does not have the line that is wrong, which an
    # environment variable may have put into the config.
    for cause in (error, error.__context__):
        if isinstance(cause, SyntaxError) and cause.text:
            text += f": {cause.text.strip()}"
            break
    return f"{type(error).__name__}: {text}"
