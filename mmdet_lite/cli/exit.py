"""How a tool ends when its user has something to mend."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from ..deployment.runtime import DeploymentError
from ..errors import ConfigError

# No room, the user's share of it is used up, and larger than files may be.
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def exit_on_config_error() -> Iterator[None]:
    """Turn what a user can mend into one line on stderr and exit status 2.

    That is a :class:`ConfigError`, a :class:`DeploymentError`, and a full disk. Of
    several processes that torchrun started each leaves the line to it, and the
    traceback of any other error: one failure has all others fail, and torchrun knows
    which came first.
    """
    try:
        yield
    except (ConfigError, DeploymentError) as error:
        message = str(error).strip()
        if message.startswith("Caught "):
            # An error in a worker of a data loader: PyTorch puts the worker's traceback
            # into the message, which ends with what was raised.
            message = message.splitlines()[-1].rpartition("ConfigError: ")[2]
        _tell(message)
        raise SystemExit(2) from None
    except OSError as error:
        if error.errno in _DISK_FULL:
            where = f" {error.filename}" if error.filename else ""
            _tell(f"cannot write{where}: {error.strerror}")
            raise SystemExit(2) from None
        _leave_to_launcher(error)
        raise
    except Exception as error:
        _leave_to_launcher(error)
        raise


def _tell(message: str) -> None:
    if _is_one_of_several():
        get_error_handler().record_exception(ConfigError(message))
    else:
        print(f"error: {message}", file=sys.stderr)


def _leave_to_launcher(error: Exception) -> None:
    if _is_one_of_several():
        get_error_handler().record_exception(error)
        raise SystemExit(1) from None


def _is_one_of_several() -> bool:
    """Whether torchrun started this process and takes its errors."""
    return "TORCHELASTIC_ERROR_FILE" in os.environ
