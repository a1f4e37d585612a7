"""Write a file so that a reader finds the old one or the whole new one, never a part.

Importing the module registers the storage backend ``durable`` with mmengine.
"""

import io
import logging
import os
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend
from mmengine.logging import print_log

from .safe_globals import undeclared_globals

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
    """mmengine's local files, written by :func:`write_durably`.

    A checkpoint is written whatever it holds, but where it will not be read back for
    what a hook or a metric left in the log, that is said at once, and not when a
    training is to go on.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes; see :func:`write_durably`."""
        write_durably(filepath, obj)
        if undeclared := undeclared_globals(io.BytesIO(obj)):
            print_log(
                f"{filepath} holds {', '.join(undeclared)}, which is no plain data: "
                "neither --resume nor tools/test.py will read it. Have hooks, metrics "
                "and data sets keep lists, dicts, numbers and text",
                logger="current",
                level=logging.WARNING,
            )

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        """Write text; see :func:`write_durably`."""
        write_durably(filepath, obj.encode(encoding))
