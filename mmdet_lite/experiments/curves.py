"""Draw the runs of an experiment epoch by epoch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import ConfigError
from .comparison import Run, select


def plot_curves(
    runs: Sequence[Run], data: str, models: Sequence[str], path: str | Path
) -> None:
    """Draw AP by epoch: the mean over seeds, and from the lowest to the highest.

    Args:
        runs: results of an experiment.
        data: name of the data set.
        models: names, in the order of the legend.
        path: picture to write.

    Raises:
        ConfigError: a model was not run, runs do not say what each epoch reached, as
            tests do not, or the path cannot be written or has no picture's ending.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for model in models:
        chosen = select(runs, data, model)
        if not all("by_epoch" in run for run in chosen):
            raise ConfigError(f"{model} on {data} was tested once, not by epoch")
        curves = [
            {row["epoch"]: row["AP"] for row in run["by_epoch"]} for run in chosen
        ]
        # An interruption may have cost an epoch its evaluation.
        epochs = sorted(set.intersection(*map(set, curves)))
        values = np.array([[curve[epoch] for epoch in epochs] for curve in curves])
        (line,) = axes.plot(
            epochs, values.mean(0), marker=".", label=f"{model} ({len(curves)})"
        )
        axes.fill_between(
            epochs, values.min(0), values.max(0), alpha=0.15, color=line.get_color()
        )
    axes.set(xlabel="epoch", ylabel=f"AP on {data}")
    axes.grid(alpha=0.3)
    axes.legend(title="model (seeds)", fontsize=8)
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be written: {error}") from error
