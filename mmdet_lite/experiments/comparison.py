"""Compare the runs of two models, seed by seed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError

Run = dict[str, Any]

_RESAMPLES = 10_000
# Of fewer seeds the percentiles of a bootstrap are the lowest and the highest pair.
_LEAST_SEEDS = 5


def load_runs(folder: str | Path) -> list[Run]:
    """Read every result of a folder.

    Raises:
        ConfigError: there is none.
    """
    files = sorted(Path(folder).glob("*.json"))
    if not files:
        raise ConfigError(f"{folder} holds no results of an experiment")
    return [json.loads(file.read_text()) for file in files]


def select(runs: Sequence[Run], data: str, model: str) -> list[Run]:
    """The runs of a model on a data set, by seed.

    Raises:
        ConfigError: there is none.
    """
    chosen = [run for run in runs if run["data"] == data and run["model"] == model]
    if not chosen:
        raise ConfigError(f"no run of {model} on {data}")
    return sorted(chosen, key=lambda run: run["seed"])


def keeps(
    runs: Sequence[Run], data: str, model: str, reference: str, metric: str = "AP"
) -> dict[str, Any]:
    """How much of the reference's AP a model keeps, over the seeds that both have.

    An interval of 95 % resamples seeds, both sides together (a paired bootstrap,
    percentiles); with few seeds it is narrower than the truth. Of fewer than five seeds
    there is none, and the range from the lowest pair to the highest stands for it.

    Args:
        runs: results of an experiment.
        data: name of the data set.
        model: name of the model.
        reference: name of the model to compare with.
        metric: of :data:`~mmdet_lite.run_logs.METRICS`.

    Returns:
        dict: ``seeds``, their number; ``ratio`` of the means and ``ratio_interval``;
        ``difference`` in points of AP and ``difference_interval``, both None for a
        single seed; ``interval``, which they are: ``'95 % interval'`` or ``'range'``.

    Raises:
        ConfigError: no seed is shared, or a run has no such metric.
    """
    ours, theirs = (
        {run["seed"]: run[metric] for run in select(runs, data, name)}
        for name in (model, reference)
    )
    seeds = sorted(set(ours) & set(theirs))
    if not seeds:
        raise ConfigError(f"{model} and {reference} share no seed on {data}")
    pairs = np.array([(ours[seed], theirs[seed]) for seed in seeds], dtype=float)
    if np.isnan(pairs).any():
        raise ConfigError(f"runs of {model} and {reference} on {data} have no {metric}")
    means = pairs.mean(0)
    result = {
        "seeds": len(seeds),
        "ratio": means[0] / means[1],
        "difference": means[0] - means[1],
        "ratio_interval": None,
        "difference_interval": None,
        "interval": "range" if len(seeds) < _LEAST_SEEDS else "95 % interval",
    }
    if 1 < len(seeds) < _LEAST_SEEDS:
        ratios, differences = pairs[:, 0] / pairs[:, 1], pairs[:, 0] - pairs[:, 1]
        result["ratio_interval"] = [ratios.min(), ratios.max()]
        result["difference_interval"] = [differences.min(), differences.max()]
    elif len(seeds) > 1:
        draws = np.random.default_rng(0).integers(
            len(seeds), size=(_RESAMPLES, len(seeds))
        )
        resampled = pairs[draws].mean(1)
        result["ratio_interval"] = _interval(resampled[:, 0] / resampled[:, 1])
        result["difference_interval"] = _interval(resampled[:, 0] - resampled[:, 1])
    return result


def _interval(samples: np.ndarray) -> list[float]:
    return np.percentile(samples, [2.5, 97.5]).tolist()
