"""Lay out text as Markdown, and write the parts of a page that measurements decide."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out cells as a table of Markdown, without a newline at the end."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def fill_blocks(page: str | Path, writers: Mapping[str, Callable[..., str]]) -> None:
    """Write the blocks of a Markdown page anew.

    A block stands between ``<!-- KIND: WORD ... -->``, or ``<!-- KIND -->``, and
    ``<!-- end -->``: on lines of its own if its text has several, else in a sentence.

    Args:
        page: the file; it is changed.
        writers: by kind what is called with a block's words and returns its text.
            Blocks of other kinds are left alone.
    """
    page = Path(page)
    kinds = "|".join(map(re.escape, writers))
    block = re.compile(
        rf"(<!-- ({kinds})(?:: ([^>]+?))? -->).*?(<!-- end -->)", re.DOTALL
    )

    def fill(match: re.Match) -> str:
        start, kind, words, end = match.groups()
        text = writers[kind](*(words or "").split())
        if "\n" in text:
            text = f"\n{text.rstrip()}\n"
        return f"{start}{text}{end}"

    page.write_text(block.sub(fill, page.read_text()))
