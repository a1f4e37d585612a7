"""Keep a measurement in a file, and lay it out as a table."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import torch

from ..checkpoint.durable import write_durably
from ..errors import ConfigError
from ..markdown import markdown_table
from ..run_logs import METRICS
from .environment import describe_environment, machine_slug

_REPOSITORY = Path(__file__).resolve().parents[2]


def measurement_path(given: str | Path, kind: str, environment: dict[str, Any]) -> Path:
    """Where a measurement goes.

    Args:
        given: a file, ending in ``.json``, or a folder.
        kind: of the measurement, such as ``'encoder'``.
        environment: see
            :func:`~mmdet_lite.benchmark.environment.describe_environment`.

    Returns:
        Path: the file, or one in the folder whose name tells kind and machine.
    """
    given = Path(given)
    if given.suffix == ".json":
        return given
    return given / f"{kind}-{machine_slug(environment)}.json"


def describe_run(device: torch.device) -> dict[str, Any]:
    """What a measurement says of the run that makes it.

    Args:
        device: what is measured on.

    Returns:
        dict: ``command`` that started this process, its script as a path from the root
        of the repository; ``environment``, see
        :func:`~mmdet_lite.benchmark.environment.describe_environment`.
    """
    script = Path(sys.argv[0]).resolve()
    if script.is_relative_to(_REPOSITORY):
        script = script.relative_to(_REPOSITORY)
    return {
        "command": shlex.join(["python", str(script), *sys.argv[1:]]),
        "environment": describe_environment(device),
    }


def save_measurement(path: str | Path, measurement: Any) -> None:
    """Write a measurement as JSON, so that a reader sees all of it or nothing."""
    write_durably(path, f"{json.dumps(measurement, indent=1)}\n".encode())


def load_measurement(path: str | Path) -> Any:
    """Read what :func:`save_measurement` wrote.

    Raises:
        ConfigError: there is no such file, or it is no JSON.
    """
    try:
        return json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is no measurement: {error}") from error


def markdown_of(measurement: dict[str, Any]) -> str:
    """Make a Markdown table of a measurement, with the conditions under it."""
    if measurement["kind"] == "operator":
        header, lines = _operator_table(measurement["rows"])
    elif measurement["kind"] == "accuracy":
        header, lines = _accuracy_table(measurement["rows"])
    elif measurement["kind"] == "scaling":
        header, lines = _scaling_table(measurement["rows"])
    else:
        header, lines = _model_table(measurement["rows"])
    return f"{markdown_table(header, lines)}\n\n{_conditions(measurement)}\n"


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
        "time against its products alone",
        "peak memory, MB",
    ]
    with_difference = any(row.get("difference") is not None for row in rows)
    if with_difference:
        header.append("difference from float32")
    with_kept = any("kept" in row for row in rows)
    if with_kept:
        header.append("kept for the backward pass, MB")
    first = rows[0]["time"]["median"]
    lines = []
    for row in rows:
        products = row.get("product_time")
        lines.append(
            [
                row["subject"],
                row["dtype"],
                _milliseconds(row["time"]),
                f"{row['time']['median'] / first:.2f}",
                _quotient(row["time"], products) if products else "–",
                _megabytes(row["peak_memory"]),
            ]
        )
        if with_difference:
            lines[-1].append(f"{100 * row['difference']:.1g} %")
        if with_kept:
            lines[-1].append(_kept(row["kept"]))
    return header, lines


def _kept(by_part: dict[str, int]) -> str:
    """All of it, and the three parts that keep most."""
    most = sorted(by_part.items(), key=lambda item: -item[1])[:3]
    parts = ", ".join(f"{name} {_megabytes(count)}" for name, count in most)
    return f"{_megabytes(sum(by_part.values()))} ({parts})"


def _quotient(time: dict[str, Any], of: dict[str, Any]) -> str:
    return f"{time['median'] / of['median']:.2f}"


def _accuracy_table(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    metrics = {name: METRICS[name] for name in ("AP", "AP50")}
    header = ["config", "dtype", *metrics]
    lines = [
        [
            row["subject"],
            row["dtype"],
            *(
                f"{100 * row['metrics'][name]:.1f}" if name in row["metrics"] else "–"
                for name in metrics.values()
            ),
        ]
        for row in rows
    ]
    return header, lines


def _scaling_table(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    header = [
        "encoder",
        "image",
        "tokens",
        "threads",
        "time, ms (min–max)",
        "µs for a token",
        f"speed-up over {rows[0]['threads']} threads",
    ]
    first = {
        tuple(row["image_shape"]): row["time"]["median"]
        for row in rows
        if row["threads"] == rows[0]["threads"]
    }
    lines = [
        [
            row["subject"],
            "×".join(map(str, row["image_shape"])),
            f"{row['num_tokens']:,}",
            str(row["threads"]),
            _milliseconds(row["time"]),
            f"{1e6 * row['time']['median'] / row['num_tokens']:.1f}",
            f"{first[tuple(row['image_shape'])] / row['time']['median']:.2f}×",
        ]
        for row in rows
    ]
    return header, lines


def _case(row: dict[str, Any]) -> tuple:
    names = ("operator", "direction", "num_queries", "num_tokens", "batch", "dtype")
    return tuple(row[name] for name in names)


def _milliseconds(time: dict[str, Any]) -> str:
    # A GPU's operators take hundredths of a millisecond.
    digits = 1 if time["median"] >= 0.01 else 3
    median, least, most = (
        f"{1e3 * time[name]:,.{digits}f}" for name in ("median", "min", "max")
    )
    return f"{median} ({least}–{most})"


def _megabytes(count: int | None) -> str:
    return "not measured" if count is None else f"{count / 1e6:,.0f}"


def conditions_of(*environments: dict[str, Any]) -> str:
    """Say in a line where measurements were made, each place once.

    Args:
        environments: see
            :func:`~mmdet_lite.benchmark.environment.describe_environment`.
    """
    commits: dict[str, dict[str, None]] = {}
    for environment in environments:
        versions = ", ".join(f"{k} {v}" for k, v in environment["versions"].items())
        where = (
            f"{environment['processor']} ({_processor_details(environment)}), "
            f"{environment['threads']} threads, device {environment['device']}; "
            f"{versions}"
        )
        commits.setdefault(where, {})[environment["commit"] or "unknown"] = None
    return "; ".join(
        f"{where}; commit{'s' * (len(of_place) > 1)} {', '.join(of_place)}"
        for where, of_place in commits.items()
    )


def _conditions(measurement: dict[str, Any]) -> str:
    timed = ""
    if measurement["kind"] != "accuracy":
        shape = "×".join(map(str, measurement["image_shape"]))
        # Sizes that differ from row to row stand in the rows, and do not take turns.
        images = f"image {shape}, " if shape else ""
        turns = "interleaved runs" if shape else "runs"
        timed = (
            f"{images}batch {measurement['batch']}; medians of "
            f"{measurement['repeats']} {turns}; "
            f"seed {measurement['seed']}; "
        )
    where = conditions_of(measurement["environment"])
    return f"*{where}; {timed}`{measurement['command']}`.*"


def _processor_details(environment: dict[str, Any]) -> str:
    """What tells processors of one name apart."""
    without = "" if environment["bfloat16_instructions"] else "no "
    caches = [
        f"{name} {size / 2**20:.3g} MiB" for name, size in environment["caches"].items()
    ]
    limits = [f"{k}={v}" for k, v in environment.get("limits", {}).items()]
    return ", ".join(
        [environment["instruction_set"], f"{without}bfloat16", *limits, *caches]
    )
