"""Wording that messages share."""

from collections.abc import Iterable


def first_line(error: Exception) -> str:
    """What an error says, in one line: some libraries' run over many.

    Args:
        error: of any kind.

    Returns:
        str: its name where it says nothing.
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def first_few(texts: Iterable[str], limit: int) -> str:
    """List texts, and say by an ellipsis that there are more.

    Args:
        texts: any number of them.
        limit: how many to spell out.

    Returns:
        str: empty where there are none.
    """
    texts = list(texts)
    return ", ".join(texts[:limit]) + (", …" if len(texts) > limit else "")
