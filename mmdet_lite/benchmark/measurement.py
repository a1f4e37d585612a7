"""Turn benchmark files into the tables of the documentation."""

import json
import re
from pathlib import Path
from typing import Any

from ..markdown import markdown_table

_BLOCK = re.compile(
    r"(?P<start><!-- (?P<kind>measured|targets): (?P<file>\S+) -->)\n"
    r".*?(?P<end><!-- end -->)",
    re.DOTALL,
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
    elif measurement["kind"] == "accuracy":
        header, lines = _accuracy_table(measurement["rows"])
    else:
        header, lines = _model_table(measurement["rows"])
    return f"{markdown_table(header, lines)}\n\n{_conditions(measurement)}\n"


def fill_tables(page: str | Path) -> None:
    """Write the tables of a Markdown page anew from the files that it names.

    A table stands between ``<!-- measured: FILE -->``, a path relative to the page, and
    ``<!-- end -->``. After ``<!-- targets: FILE -->`` stands what :func:`targets_of`
    makes of the file.

    Raises:
        FileNotFoundError: a file that the page names is missing.
    """
    page = Path(page)

    def fill(block: re.Match) -> str:
        file = page.parent / block["file"]
        if block["kind"] == "targets":
            table = targets_of(file)
        else:
            table = markdown_of(load_measurement(file))
        return f"{block['start']}\n{table}{block['end']}"

    page.write_text(_BLOCK.sub(fill, page.read_text()))


def targets_of(file: str | Path) -> str:
    """Make a Markdown table of ratios of measured times beside what they should be.

    Args:
        file: JSON with ``columns``, each a ``title`` and the ``suffix`` of the files
            that it reads, and ``targets``. A target has ``what`` and ``goal``
            in words, ``at_most`` or ``at_least``, the two sides ``of`` and ``to`` (the
            ratio is of / to), and ``why`` it is missed. A side is the ``file`` of a
            measurement, relative to this one and without ``.json``, what must be in the
            ``row``, and which ``time`` of it, if not ``time``.

    Raises:
        ValueError: a file that is there has no such row, or several; or a missed
            target has no ``why``, or a met one has.
    """
    file = Path(file)
    plan = load_measurement(file)
    titles = [column["title"] for column in plan["columns"]]
    rows = []
    for target in plan["targets"]:
        cells = [target["what"], target["goal"]]
        missed = False
        for column in plan["columns"]:
            times = [
                _time_of(file.parent, target[side], column["suffix"])
                for side in ("of", "to")
            ]
            if None in times:
                cells.append("not measured")
                continue
            ratio = times[0] / times[1]
            meets = (
                ratio >= target["at_least"]
                if "at_least" in target
                else ratio <= target["at_most"]
            )
            missed |= not meets
            number = f"{ratio:.1f}×" if "at_least" in target else f"{ratio:.3g}"
            cells.append(number if meets else f"**{number}**")
        if missed != bool(target.get("why")):
            raise ValueError(
                f"{file}: {target['what']!r} is {'missed' if missed else 'met'}, so it "
                f"must {'' if missed else 'not '}say why"
            )
        rows.append([*cells, target.get("why", "")])
    header = ["what", "target", *titles, "missed, because"]
    return markdown_table(header, rows) + "\n"


def _time_of(folder: Path, side: dict[str, Any], suffix: str) -> float | None:
    """The median time of the side's row, or None where it was not measured."""
    path = folder / f"{side['file']}{suffix}.json"
    if not path.exists():
        return None
    rows = [
        row
        for row in load_measurement(path)["rows"]
        if side["row"].items() <= row.items()
    ]
    if len(rows) != 1:
        raise ValueError(f"{path} has {len(rows)} rows with {side['row']}")
    return rows[0][side.get("time", "time")]["median"]


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
    with_difference = any(row.get("difference") is not None for row in rows)
    if with_difference:
        header.append("difference from float32")
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
        if with_difference:
            lines[-1].append(f"{100 * row['difference']:.1g} %")
    return header, lines


def _accuracy_table(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    metrics = {"AP": "coco/bbox_mAP", "AP50": "coco/bbox_mAP_50"}
    header = ["config", "dtype", *metrics]
    lines = [
        [
            row["subject"],
            row["dtype"],
            *(f"{100 * row['metrics'][name]:.1f}" for name in metrics.values()),
        ]
        for row in rows
    ]
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
    timed = ""
    if measurement["kind"] != "accuracy":
        shape = "×".join(map(str, measurement["image_shape"]))
        timed = (
            f"image {shape}, batch {measurement['batch']}; medians of "
            f"{measurement['repeats']} interleaved runs; "
        )
    return (
        f"*{environment['processor']}, {environment['threads']} threads, device "
        f"{environment['device']}; {timed}{versions}; `{measurement['command']}`.*"
    )
