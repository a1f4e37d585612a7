"""Types of command-line arguments that are numbers."""

import argparse


def positive_int(text: str) -> int:
    """A whole number of at least 1, as ``type`` of an argument.

    Args:
        text: what was given.

    Raises:
        ArgumentTypeError: it is something else; argparse says of which argument.
    """
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(
            f"a whole number of at least 1 is expected, but got {text!r}"
        )
    return number
