"""Read the file of a config, and ask what it has."""

from collections.abc import Sequence
from typing import Any

from mmengine.config import Config
from mmengine.hub import get_config

from .errors import ConfigError


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


def require_test_set(
    cfg: Config,
    parts: Sequence[str] = ("test_dataloader", "test_evaluator", "test_cfg"),
) -> None:
    """Refuse a config that cannot be tested.

    Args:
        cfg: a whole config.
        parts: what is needed of it; by default all that mmengine tests with.

    Raises:
        ConfigError: it lacks one of them.
    """
    lacking = [part for part in parts if cfg.get(part) is None]
    if lacking:
        raise ConfigError(
            f"{cfg.filename or 'the config'} has no test set: it needs "
            f"{', '.join(lacking)}"
        )


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
