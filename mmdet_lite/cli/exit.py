"""How a tool ends when its user has something to mend."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import ConfigError


@contextmanager
def exit_on_config_error() -> Iterator[None]:
    """Turn a :class:`ConfigError` into one line on stderr and exit status 2."""
    try:
        yield
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
