"""Write docs/performance.md from the measurements that it names, and draw its bars.

    python .dev_scripts/performance_page.py

The page's first table stands between <!-- headline --> and <!-- end -->, its goals
between <!-- goals --> and <!-- end -->, and the tables of its appendix between
<!-- measured: FILE --> and <!-- end -->, FILE relative to the page.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from performance_goals import find, goals_table
from shown_machine import measurement_of

from mmdet_lite.benchmark.measurement import (
    conditions_of,
    load_measurement,
    markdown_of,
)
from mmdet_lite.cli import exit_on_config_error
from mmdet_lite.markdown import fill_blocks, markdown_table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
BARS = "images/performance.png"


@dataclass(frozen=True)
class Headline:
    """A pair of rows that matters to who wants to use the package.

    Attributes:
        what: is timed.
        file: of the measurement, relative to the page.
        stock: subject of mmdet's model.
        lite: subject of the Lite model.
    """

    what: str
    file: str
    stock: str
    lite: str


HEADLINES = (
    Headline(
        "encoder, ResNet-50's features",
        measurement_of("encoder"),
        "dino-stock",
        "lite-dino_h3l1-2p1x3",
    ),
    Headline(
        "whole model, ResNet-50",
        measurement_of("model"),
        "dino-stock",
        "lite-dino_h3l1-2p1x3",
    ),
    Headline(
        "whole model, made fast by `--optimize`",
        measurement_of("model"),
        "dino-stock",
        "lite-dino_h3l1-2p1x3, optimized",
    ),
    Headline(
        "training iteration, small ResNet-18 model",
        measurement_of("training"),
        "training iteration, DINO of mmdet",
        "training iteration, LiteDINO, auto operator",
    ),
)


def times_of(headline: Headline, folder: Path) -> tuple[dict, dict]:
    """The times of the stock and of the Lite model, in float32.

    Args:
        headline: which.
        folder: of the page.

    Returns:
        tuple: two summaries of :func:`~mmdet_lite.benchmark.timing.time_interleaved`.

    Raises:
        ConfigError: the file has no such row, or several.
    """
    stock, lite = (
        find(folder / headline.file, subject=subject, dtype="float32")["time"]
        for subject in (headline.stock, headline.lite)
    )
    return stock, lite


def headline_table(folder: Path) -> str:
    """The first table of the page, with the conditions of each row under it."""
    rows, environments = [], []
    for headline in HEADLINES:
        measurement = load_measurement(folder / headline.file)
        stock, lite = times_of(headline, folder)
        rows.append(
            [
                headline.what,
                _images(measurement),
                f"{stock['median']:.2f} s",
                f"{lite['median']:.2f} s",
                f"{stock['median'] / lite['median']:.1f}×",
            ]
        )
        environments.append(measurement["environment"])
    header = ["float32", "images", "DINO of mmdet", "Lite-DINO H3L1-(2+1)x3", "ratio"]
    return f"{markdown_table(header, rows)}\n\n*{conditions_of(*environments)}.*\n"


def _images(measurement: dict[str, Any]) -> str:
    return f"{measurement['batch']} of {'×'.join(map(str, measurement['image_shape']))}"


def fill_page(page: Path) -> None:
    """Write the tables of the page anew.

    Raises:
        ConfigError: a file that the page names is missing, or lacks what is shown.
    """

    folder = page.parent
    fill_blocks(
        page,
        {
            "headline": lambda: headline_table(folder),
            "goals": lambda: goals_table(folder),
            "measured": lambda file: markdown_of(load_measurement(folder / file)),
        },
    )


def plot_headlines(folder: Path, image: Path) -> None:
    """Draw the first table as horizontal bars, with whiskers from min to max.

    Args:
        folder: of the page.
        image: file to write.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4), layout="constrained")
    axes = figure.add_subplot()
    height = 0.38
    for index, headline in enumerate(HEADLINES):
        times = times_of(headline, folder)
        ratio = times[0]["median"] / times[1]["median"]
        labels = ("{:.2f} s", f"{{:.2f}} s, {ratio:.1f}× as fast")
        for side, (time, label, color) in enumerate(
            zip(times, labels, ("0.7", "C0"), strict=True)
        ):
            median = time["median"]
            position = index + (side - 0.5) * height
            axes.barh(
                position,
                median,
                height,
                color=color,
                xerr=[[median - time["min"]], [time["max"] - median]],
                error_kw={"elinewidth": 1, "capsize": 2},
                label=("DINO of mmdet", "Lite-DINO H3L1-(2+1)x3")[side]
                if index == 0
                else None,
            )
            axes.annotate(
                label.format(median),
                (time["max"], position),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
    names = [
        headline.what.replace(", ", "\n").replace("`", "") for headline in HEADLINES
    ]
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(right=1.2 * axes.get_xlim()[1])
    axes.set_xlabel("seconds: median, from the fastest to the slowest run")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(image, dpi=150)


def main() -> None:
    """Write the page and its picture."""
    with exit_on_config_error():
        fill_page(PAGE)
        plot_headlines(PAGE.parent, PAGE.parent / BARS)


if __name__ == "__main__":
    main()
