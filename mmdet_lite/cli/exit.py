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
        message = str(error).strip()
        if message.startswith("Caught "):
            # An error in a worker of a data loader: PyTorch puts the worker's traceback
            # into the message, which ends with what was raised.
            message = message.splitlines()[-1].rpartition("ConfigError: ")[2]
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        where = f" {error.filename}" if error.filename else ""
        print(f"error: cannot write{where}: {error.strerror}", file=sys.stderr)
        raise SystemExit(2) from None
