"""Write a file so that a reader finds the old one or the whole new one, never a part.

Importing the module registers the storage backend ``durable`` with mmengine.
"""

import os
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

# What a file is called while it is written.
UNFINISHED = ".unfinished"


def write_durably(path: str | Path, content: bytes) -> None:
    """Write a file beside its place, wait for the disk, and move it there.

    Args:
        path: where to; a file that is there is replaced. The folder need not exist.
        content: of the file.

    Raises:
        OSError: it cannot be written; a file that was there is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # Some network file systems do not know how; the file itself is there.
    finally:
        os.close(descriptor)


@register_backend("durable", force=True)
class DurableBackend(LocalBackend):
    """mmengine's local files, written by :func:`write_durably`."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes; see :func:`write_durably`."""
        write_durably(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        """Write text; see :func:`write_durably`."""
        write_durably(filepath, obj.encode(encoding))
