"""What the package wants to reach, and what it has reached, out of the measurements."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shown_machine import measurement_of

from mmdet_lite.benchmark.measurement import load_measurement
from mmdet_lite.errors import ConfigError
from mmdet_lite.markdown import markdown_table

LITE, H2L2 = "lite-dino_h3l1-2p1x3", "lite-dino_h2l2-2p1x3"
FLOAT32, BFLOAT16 = "float32", "bfloat16 autocast"

Rows = Callable[[str], list[dict[str, Any]]]
"""Gives a measurement's rows by its kind."""


@dataclass(frozen=True)
class Goal:
    """A figure that is to be small, or great.

    Attributes:
        figure: what it is.
        reached: finds it in the measurements.
        limit: the goal.
        at_least: whether the figure is to be at least the limit; otherwise at most.
    """

    figure: str
    reached: Callable[[Rows], float]
    limit: float
    at_least: bool = False


def find(rows: list[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    """The row in which these fields have these values.

    Raises:
        ConfigError: there is none, or there are several.
    """
    found = [r for r in rows if all(r.get(k) == v for k, v in wanted.items())]
    if len(found) != 1:
        raise ConfigError(f"{len(found)} rows are of {wanted}, but the page shows one")
    return found[0]


def _time(rows: list[dict[str, Any]], **wanted: Any) -> float:
    return find(rows, **wanted)["time"]["median"]


def _against_matmuls(rows: Rows, subject: str, dtype: str) -> float:
    row = find(rows("encoder"), subject=subject, dtype=dtype)
    return row["time"]["median"] / row["matmul_time"]["median"]


def _against_stock(rows: Rows, kind: str) -> float:
    """Made fast, in bfloat16, against mmdet's on the C library's memory, in float32."""
    fast = _time(rows(kind), subject=f"{LITE}, optimized", dtype=BFLOAT16)
    stock = _time(rows(f"{kind}-default-memory"), subject="dino-stock", dtype=FLOAT32)
    return fast / stock


def _operator(rows: Rows, direction: str, operator: str, backend: str) -> float:
    return _time(
        rows("operator"),
        operator=operator,
        direction=direction,
        num_queries=17821,
        dtype=FLOAT32,
        backend=backend,
    )


def _key_aware_against_plain(rows: Rows) -> float:
    return _operator(rows, "forward", "key-aware", "cpp") / _operator(
        rows, "forward", "plain", "cpp"
    )


def _backward_speed_up(rows: Rows) -> float:
    both = "forward + backward"
    return _operator(rows, both, "key-aware", "reference") / _operator(
        rows, both, "key-aware", "cpp"
    )


def _against_rt_detr(rows: Rows, subject: str) -> float:
    found = rows("model-640")
    return _time(found, subject=f"{subject}, optimized") / _time(
        found, subject="rt-detr-r50"
    )


def _training(rows: Rows, field: Callable[[dict], float]) -> float:
    found = rows("training-r50-default-memory")
    lite = find(found, subject="training iteration, LiteDINO, auto operator")
    stock = find(found, subject="training iteration, DINO of mmdet")
    return field(lite) / field(stock)


def _spread_per_token(rows: Rows) -> float:
    """The costliest token of all sizes against the cheapest, all threads at work."""
    found = rows("scaling")
    threads = max(row["threads"] for row in found)
    costs = [
        row["time"]["median"] / row["num_tokens"]
        for row in found
        if row["threads"] == threads
    ]
    return max(costs) / min(costs)


def _least_speed_up(rows: Rows) -> float:
    found = rows("scaling")
    by_side: dict[int, dict[int, float]] = {}
    for row in found:
        times = by_side.setdefault(row["image_shape"][0], {})
        times[row["threads"]] = row["time"]["median"]
    return min(times[1] / times[2] for times in by_side.values())


FAST = f"{LITE}, optimized"
GOALS = (
    Goal(
        "encoder, float32, against its matrix products alone",
        lambda rows: _against_matmuls(rows, LITE, FLOAT32),
        1.10,
    ),
    Goal(
        "the same, optimized: its products take less time too",
        lambda rows: _against_matmuls(rows, FAST, FLOAT32),
        1.10,
    ),
    Goal(
        "the same, optimized, bfloat16",
        lambda rows: _against_matmuls(rows, FAST, BFLOAT16),
        1.30,
    ),
    Goal(
        "encoder, optimized, bfloat16, against mmdet's DINO in float32",
        lambda rows: _against_stock(rows, "encoder"),
        0.08,
    ),
    Goal(
        "key-aware operator forward against plain, 17,821 queries",
        _key_aware_against_plain,
        1.15,
    ),
    Goal(
        "the same, forward + backward, times as fast as on `grid_sample`",
        _backward_speed_up,
        15,
        at_least=True,
    ),
    Goal(
        "whole model, optimized, against RT-DETR-R50, 640×640",
        lambda rows: _against_rt_detr(rows, LITE),
        0.95,
    ),
    Goal(
        "the same, H2L2-(2+1)x3",
        lambda rows: _against_rt_detr(rows, H2L2),
        0.90,
    ),
    Goal(
        "whole model, optimized, bfloat16, against mmdet's DINO in float32",
        lambda rows: _against_stock(rows, "model"),
        0.18,
    ),
    Goal(
        "training iteration, R50, 640×640, against mmdet's DINO: time",
        lambda rows: _training(rows, lambda row: row["time"]["median"]),
        0.22,
    ),
    Goal(
        "the same: peak memory",
        lambda rows: _training(rows, lambda row: row["peak_memory"]),
        0.40,
    ),
    Goal(
        "encoder from 320×320 to 1600×1600, dearest token against cheapest",
        _spread_per_token,
        1.15,
    ),
    Goal(
        "encoder, two threads against one, smallest speed-up",
        _least_speed_up,
        1.8,
        at_least=True,
    ),
)


def goals_table(folder: Path) -> str:
    """Every goal, and what was reached.

    Args:
        folder: of the page.

    Raises:
        ConfigError: a measurement is missing, or lacks a row.
    """

    def rows(kind: str) -> list[dict[str, Any]]:
        return load_measurement(folder / measurement_of(kind))["rows"]

    lines = []
    for goal in GOALS:
        value = goal.reached(rows)
        is_reached = value >= goal.limit if goal.at_least else value <= goal.limit
        sign = "≥" if goal.at_least else "≤"
        verdict = "reached" if is_reached else "missed"
        lines.append([goal.figure, f"{sign} {goal.limit:g}", f"{value:.2f}", verdict])
    return f"{markdown_table(['figure', 'goal', 'measured', ''], lines)}\n"
