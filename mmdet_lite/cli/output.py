"""Check that results can be kept, before the work that gives them."""

from pathlib import Path
from tempfile import TemporaryFile

from ..errors import ConfigError


def require_writable_folder(folder: str | Path, argument: str) -> Path:
    """Make a folder, and refuse one that nothing can be written to.

    Args:
        folder: path; it and its parents need not exist.
        argument: what the user named it by, such as ``'--out'``.

    Returns:
        Path: the folder.

    Raises:
        ConfigError: it cannot be made or written to.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"{argument} {folder} cannot be written to: {error.strerror}"
        ) from error
    return folder
