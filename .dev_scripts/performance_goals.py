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
FAST = f"{LITE}, optimized"
LITE_TRAINING = "training iteration, LiteDINO, auto operator"
STOCK_TRAINING = "training iteration, DINO of mmdet"
FLOAT32, BFLOAT16 = "float32", "bfloat16 autocast"

Files = Callable[[str], Path]
"""Gives the file of a measurement by its kind."""


@dataclass(frozen=True)
class Goal:
    """A figure that is to be small, or great.

    Attributes:
        figure: what it is.
        reached: finds it in the measurements.
        limit: the goal.
        at_least: whether the figure is to be at least the limit; otherwise at most.
        at_best: what it would be if the subject took no time but for its products and,
            of encoders, the attention operator; of that, three passes.
    """

    figure: str
    reached: Callable[[Files], float]
    limit: float
    at_least: bool = False
    at_best: Callable[[Files], float] | None = None


def find(file: Path, **wanted: Any) -> dict[str, Any]:
    """The row of a measurement in which these fields have these values.

    Raises:
        ConfigError: there is none, or there are several.
    """
    rows = load_measurement(file)["rows"]
    found = [row for row in rows if all(row.get(k) == v for k, v in wanted.items())]
    if len(found) != 1:
        raise ConfigError(
            f"{file} has {len(found)} rows of {wanted}, but the page shows one"
        )
    return found[0]


def _time(file: Path, part: str = "time", **wanted: Any) -> float:
    return find(file, **wanted)[part]["median"]


def _against_products(files: Files, subject: str, dtype: str) -> float:
    file = files("encoder")
    return _time(file, subject=subject, dtype=dtype) / _time(
        file, "product_time", subject=subject, dtype=dtype
    )


def _with_operator_alone(files: Files, subject: str, dtype: str) -> float:
    """An encoder of its products and its attention operator, against the products.

    H3L1-(2+1)x3 has three H layers, of 4,421 queries each, and three F layers.
    """
    products = _time(files("encoder"), "product_time", subject=subject, dtype=dtype)
    operator = sum(
        3 * _operator(files, "forward", "key-aware", "cpp", num_queries, dtype)
        for num_queries in (4421, 17821)
    )
    return (products + operator) / products


def _against_stock(files: Files, kind: str) -> float:
    """Made fast, in bfloat16, against mmdet's on the C library's memory, in float32."""
    fast = _time(files(kind), subject=FAST, dtype=BFLOAT16)
    stock = files(f"{kind}-default-memory")
    return fast / _time(stock, subject="dino-stock", dtype=FLOAT32)


def _operator(
    files: Files,
    direction: str,
    operator: str,
    backend: str,
    num_queries: int = 17821,
    dtype: str = FLOAT32,
) -> float:
    half = dtype == BFLOAT16
    return _time(
        files("operator-bfloat16" if half else "operator"),
        operator=operator,
        direction=direction,
        num_queries=num_queries,
        dtype="bfloat16" if half else dtype,
        backend=backend,
    )


def _key_aware_against_plain(files: Files) -> float:
    return _operator(files, "forward", "key-aware", "cpp") / _operator(
        files, "forward", "plain", "cpp"
    )


def _backward_speed_up(files: Files) -> float:
    both = "forward + backward"
    return _operator(files, both, "key-aware", "reference") / _operator(
        files, both, "key-aware", "cpp"
    )


def _speed_up_of_three_passes(files: Files) -> float:
    """Were gathering again and scattering each as fast as the forward pass."""
    stock = _operator(files, "forward + backward", "key-aware", "reference")
    return stock / (3 * _operator(files, "forward", "key-aware", "cpp"))


def _against_rt_detr(files: Files, subject: str, part: str = "time") -> float:
    file = files("model-640")
    return _time(file, part, subject=f"{subject}, optimized") / _time(
        file, subject="rt-detr-r50"
    )


def _training_time(files: Files, part: str = "time") -> float:
    file = files("training-r50-default-memory")
    return _time(file, part, subject=LITE_TRAINING) / _time(
        file, subject=STOCK_TRAINING
    )


def _training_memory(files: Files) -> float:
    file = files("training-r50-default-memory")
    lite, stock = (
        find(file, subject=subject)["peak_memory"]
        for subject in (LITE_TRAINING, STOCK_TRAINING)
    )
    return lite / stock


def _spread_per_token(files: Files) -> float:
    """The dearest token of all sizes against the cheapest, all threads at work."""
    rows = load_measurement(files("scaling"))["rows"]
    threads = max(row["threads"] for row in rows)
    costs = [
        row["time"]["median"] / row["num_tokens"]
        for row in rows
        if row["threads"] == threads
    ]
    return max(costs) / min(costs)


def _least_speed_up(files: Files) -> float:
    by_side: dict[int, dict[int, float]] = {}
    for row in load_measurement(files("scaling"))["rows"]:
        times = by_side.setdefault(row["image_shape"][0], {})
        times[row["threads"]] = row["time"]["median"]
    return min(times[1] / times[2] for times in by_side.values())


GOALS = (
    Goal(
        "encoder, float32, against its matrix products alone",
        lambda files: _against_products(files, LITE, FLOAT32),
        1.10,
        at_best=lambda files: _with_operator_alone(files, LITE, FLOAT32),
    ),
    Goal(
        "the same, optimized: its products take less time too",
        lambda files: _against_products(files, FAST, FLOAT32),
        1.10,
        at_best=lambda files: _with_operator_alone(files, FAST, FLOAT32),
    ),
    Goal(
        "the same, optimized, bfloat16",
        lambda files: _against_products(files, FAST, BFLOAT16),
        1.30,
        at_best=lambda files: _with_operator_alone(files, FAST, BFLOAT16),
    ),
    Goal(
        "encoder, optimized, bfloat16, against mmdet's DINO in float32",
        lambda files: _against_stock(files, "encoder"),
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
        at_best=_speed_up_of_three_passes,
    ),
    Goal(
        "whole model, optimized, against RT-DETR-R50, 640×640",
        lambda files: _against_rt_detr(files, LITE),
        0.95,
        at_best=lambda files: _against_rt_detr(files, LITE, "product_time"),
    ),
    Goal(
        "the same, H2L2-(2+1)x3",
        lambda files: _against_rt_detr(files, H2L2),
        0.90,
        at_best=lambda files: _against_rt_detr(files, H2L2, "product_time"),
    ),
    Goal(
        "whole model, optimized, bfloat16, against mmdet's DINO in float32",
        lambda files: _against_stock(files, "model"),
        0.18,
    ),
    Goal(
        "training iteration, R50, 640×640, against mmdet's DINO: time",
        _training_time,
        0.22,
        at_best=lambda files: _training_time(files, "product_time"),
    ),
    Goal(
        "the same: peak memory",
        _training_memory,
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
    """Every goal, what was reached, and what could be.

    Args:
        folder: of the page.

    Raises:
        ConfigError: a measurement is missing, or lacks a row.
    """

    def files(kind: str) -> Path:
        return folder / measurement_of(kind)

    lines = []
    for goal in GOALS:
        value = goal.reached(files)
        is_reached = value >= goal.limit if goal.at_least else value <= goal.limit
        sign = "≥" if goal.at_least else "≤"
        verdict = "reached" if is_reached else "missed"
        best = "" if goal.at_best is None else f"{goal.at_best(files):.2f}"
        lines.append(
            [goal.figure, f"{sign} {goal.limit:g}", f"{value:.2f}", verdict, best]
        )
    header = ["figure", "goal", "measured", "", "at best"]
    return f"{markdown_table(header, lines)}\n"
