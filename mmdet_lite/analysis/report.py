"""Turn benchmark files into the tables of the documentation."""

import json
import re
from pathlib import Path
from typing import Any

_MEASURED_BLOCK = re.compile(
    r"(?P<start><!-- measured: (?P<file>\S+) -->)\n.*?(?P<end><!-- end -->)", re.DOTALL
)


def save_measurement(path: str | Path, measurement: dict[str, Any]) -> None:
    """Write a measurement as JSON."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(measurement, indent=1) + "\n")


def load_measurement(path: str | Path) -> dict[str, Any]:
    """Read what :func:`save_measurement` wrote."""
    return json.loads(Path(path).read_text())


def markdown_of(measurement: dict[str, Any]) -> str:
    """Make a Markdown table of a measurement, with the conditions under it."""
    if measurement["kind"] == "operator":
        header, lines = _operator_table(measurement["rows"])
    else:
        header, lines = _model_table(measurement["rows"])
    table = [header, ["---"] * len(header), *lines]
    body = "\n".join("|" + "|".join(f" {cell} " for cell in row) + "|" for row in table)
    return f"{body}\n\n{_conditions(measurement)}\n"


def fill_tables(page: str | Path) -> None:
    """Write the tables of a Markdown page anew from the files that it names.

    A table stands between ``<!-- measured: FILE -->``, a path relative to the page, and
    ``<!-- end -->``.

    Raises:
        FileNotFoundError: a file that the page names is missing.
    """
    page = Path(page)

    def fill(block: re.Match) -> str:
        table = markdown_of(load_measurement(page.parent / block["file"]))
        return f"{block['start']}\n{table}{block['end']}"

    page.write_text(_MEASURED_BLOCK.sub(fill, page.read_text()))


def _operator_table(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    header = [
        "operator",
        "direction",
        "queries",
        "dtype",
        "backend",
        "time, ms (min–max)",
        "against reference",
        "peak memory, MB",
        "max error",
    ]
    reference = {
        _case(row): row["time"]["median"]
        for row in rows
        if row["backend"] == "reference"
    }
    lines = [
        [
            row["operator"],
            row["direction"],
            f"{row['num_queries']:,}",
            row["dtype"],
            row["backend"],
            _milliseconds(row["time"]),
            f"{reference[_case(row)] / row['time']['median']:.1f}×",
            _megabytes(row["peak_memory"]),
            f"{row['max_error']:.0e}",
        ]
        for row in rows
    ]
    return header, lines


def _model_table(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    header = [
        "subject",
        "dtype",
        "time, ms (min–max)",
        f"share of {rows[0]['subject']}'s time",
        "time against its matmuls alone",
        "peak memory, MB",
    ]
    first = rows[0]["time"]["median"]
    lines = []
    for row in rows:
        matmul = row.get("matmul_time")
        lines.append(
            [
                row["subject"],
                row["dtype"],
                _milliseconds(row["time"]),
                f"{row['time']['median'] / first:.2f}",
                f"{row['time']['median'] / matmul['median']:.2f}" if matmul else "–",
                _megabytes(row["peak_memory"]),
            ]
        )
    return header, lines


def _case(row: dict[str, Any]) -> tuple:
    names = ("operator", "direction", "num_queries", "num_tokens", "batch", "dtype")
    return tuple(row[name] for name in names)


def _milliseconds(time: dict[str, Any]) -> str:
    return (
        f"{1e3 * time['median']:,.1f} "
        f"({1e3 * time['min']:,.1f}–{1e3 * time['max']:,.1f})"
    )


def _megabytes(count: int | None) -> str:
    return "not measured" if count is None else f"{count / 1e6:,.0f}"


def _conditions(measurement: dict[str, Any]) -> str:
    environment = measurement["environment"]
    versions = ", ".join(f"{k} {v}" for k, v in environment["versions"].items())
    shape = "×".join(map(str, measurement["image_shape"]))
    return (
        f"*{environment['processor']}, {environment['threads']} threads, device "
        f"{environment['device']}; image {shape}, batch {measurement['batch']}; "
        f"medians of {measurement['repeats']} interleaved runs; {versions}; "
        f"`{measurement['command']}`.*"
    )
