"""How a tool ends when its user has something to mend."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import ConfigError

# No room, the user's share of it is used up, and larger than files may be.
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def exit_on_config_error() -> Iterator[None]:
    """Turn what a user can mend into one line on stderr and exit status 2.

    That is a :class:`ConfigError`, and a full disk.
    """
    try:
        yield
    except ConfigError as error:
        # Of an error in a worker of a data loader PyTorch makes one of many lines, the
        # last of which is what was raised.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        print(f"error: {lines[-1].rpartition('ConfigError: ')[2]}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        where = f" {error.filename}" if error.filename else ""
        print(f"error: cannot write{where}: {error.strerror}", file=sys.stderr)
        raise SystemExit(2) from None
