"""Read a COCO annotation file once, for all that want it."""

import gc
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import ConfigError

# Files that were read, until a data set takes them: COCO's take gigabytes as objects.
# Beside each is what changes when the file does.
_kept: dict[Path, tuple[tuple[int, int], Any]] = {}


def read_annotation_file(path: str | Path, keep: bool = False) -> Any:
    """Read an annotation file, or give what an earlier call has kept.

    Args:
        path: of the file.
        keep: hold the content for the next call. It is held until a call without.

    Returns:
        Whatever the JSON holds, which need not be COCO's lists.

    Raises:
        ConfigError: there is no such file, or it is no JSON.
    """
    path = Path(path).absolute()
    if not path.is_file():
        raise ConfigError(f"the annotation file does not exist: {path}")
    status = path.stat()
    version = (status.st_mtime_ns, status.st_size)
    kept_version, content = _kept.pop(path, (None, None))
    if kept_version != version:
        content = _read(path)
    if keep:
        _kept[path] = (version, content)
    return content


def forget_annotation_files(but: Iterable[str] = ()) -> None:
    """Give up what was kept.

    Args:
        but: paths of files that somebody is still to ask for.
    """
    wanted = {Path(path).absolute() for path in but}
    for path in _kept.keys() - wanted:
        del _kept[path]


def _read(path: Path) -> Any:
    # A third of the time would go into looking for garbage among millions of new
    # objects, where there is none.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        # Bytes may be of any encoding, where pycocotools takes UTF-8 only.
        return json.loads(path.read_bytes().decode())
    except RecursionError:
        raise ConfigError(f"{path} is not readable as JSON: nested too deep") from None
    except (ValueError, OSError) as error:
        raise ConfigError(f"{path} is not readable as JSON: {error}") from error
    finally:
        if was_enabled:
            gc.enable()
