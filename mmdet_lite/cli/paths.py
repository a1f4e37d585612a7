"""Check before the work that its results can be written."""

import tempfile
from pathlib import Path

from ..errors import ConfigError


def require_writable_folder(flag: str, path: str | Path) -> None:
    """Make a folder, and refuse one in which no file can be written.

    Args:
        flag: the argument that names it, for the message.
        path: of the folder, which need not exist.

    Raises:
        ConfigError: it cannot be made, or nothing can be written there.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except (OSError, ValueError) as error:
        raise ConfigError(f"{flag} {path} cannot be written to: {error}") from error


def require_writable_file(flag: str, path: str | Path) -> None:
    """Refuse a path at which no file can be written; one that exists stays as it is.

    Args:
        flag: the argument that names it, for the message.
        path: of the file, whose folder need not exist.

    Raises:
        ConfigError: it is a folder, or cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise ConfigError(f"{flag} {path} is a folder, but a file is expected")
    try:
        if path.exists():
            with path.open("ab"):
                return
    except OSError as error:
        raise ConfigError(f"{flag} {path} cannot be written: {error}") from error
    require_writable_folder(flag, path.parent)
