"""Compare the runs of an experiment: tables, paired intervals, curves."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from ..benchmark.measurement import load_measurement
from ..errors import ConfigError
from ..markdown import fill_blocks, markdown_table
from .errors import KINDS
from .record import METRICS

Run = dict[str, Any]

_RESAMPLES = 10_000


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

    The interval resamples seeds, both sides together (a paired bootstrap, percentiles).
    With few seeds it is narrower than the truth.

    Args:
        runs: results of an experiment.
        data: name of the data set.
        model: name of the model.
        reference: name of the model to compare with.
        metric: of :data:`~mmdet_lite.experiments.record.METRICS`.

    Returns:
        dict: ``seeds``, their number; ``ratio`` of the means and ``ratio_interval``;
        ``difference`` in points of AP and ``difference_interval``. The intervals are
        of 95 % and None for a single seed.

    Raises:
        ConfigError: no seed is shared.
    """
    ours, theirs = (
        {run["seed"]: run[metric] for run in select(runs, data, name)}
        for name in (model, reference)
    )
    seeds = sorted(set(ours) & set(theirs))
    if not seeds:
        raise ConfigError(f"{model} and {reference} share no seed on {data}")
    pairs = np.array([(ours[seed], theirs[seed]) for seed in seeds], dtype=float)
    means = pairs.mean(0)
    result = {
        "seeds": len(seeds),
        "ratio": means[0] / means[1],
        "difference": means[0] - means[1],
        "ratio_interval": None,
        "difference_interval": None,
    }
    if len(seeds) > 1:
        draws = np.random.default_rng(0).integers(
            len(seeds), size=(_RESAMPLES, len(seeds))
        )
        resampled = pairs[draws].mean(1)
        result["ratio_interval"] = _interval(resampled[:, 0] / resampled[:, 1])
        result["difference_interval"] = _interval(resampled[:, 0] - resampled[:, 1])
    return result


def _interval(samples: np.ndarray) -> list[float]:
    return np.percentile(samples, [2.5, 97.5]).tolist()


def table(runs: Sequence[Run], data: str, models: Sequence[str]) -> str:
    """Lay out mean ± standard deviation over seeds, the first model the reference.

    Args:
        runs: results of an experiment.
        data: name of the data set.
        models: names, in the order of the rows.

    Returns:
        str: a table of Markdown. A model without a run has a row that says so.
    """
    header = ["model", "seeds", *METRICS]
    header += [f"of {models[0]}'s AP", "difference in AP", "encoder GFLOPs"]
    rows = []
    for model in models:
        try:
            chosen = select(runs, data, model)
        except ConfigError:
            rows.append([model, "not run", *[""] * (len(header) - 2)])
            continue
        cells = [_mean_and_deviation([run[name] for run in chosen]) for name in METRICS]
        comparison = ["", ""]
        if model != models[0]:
            try:
                comparison = _comparison(keeps(runs, data, model, models[0]))
            except ConfigError:
                comparison = ["no shared seed", ""]
        flops = f"{chosen[0]['encoder_gflops']:.2f}"
        rows.append([model, str(len(chosen)), *cells, *comparison, flops])
    return markdown_table(header, rows)


def table_of_classes(runs: Sequence[Run], data: str, models: Sequence[str]) -> str:
    """Lay out AP by class, mean ± standard deviation over the seeds that have it.

    Args:
        runs: results of an experiment.
        data: name of the data set.
        models: names, in the order of the rows.

    Returns:
        str: a table of Markdown.

    Raises:
        ConfigError: no run of a model has metrics by class.
    """
    rows, classes = [], {}
    for model in models:
        chosen = [run for run in select(runs, data, model) if run.get("by_class")]
        if not chosen:
            raise ConfigError(f"no run of {model} on {data} has metrics by class")
        classes = chosen[0]["by_class"]
        cells = [
            _mean_and_deviation([run["by_class"][name] for run in chosen])
            for name in classes
        ]
        rows.append([model, str(len(chosen)), *cells])
    return markdown_table(["model", "seeds", *classes], rows)


def table_of_epochs(
    runs: Sequence[Run], retested: Sequence[Run], data: str, models: Sequence[str]
) -> str:
    """Lay out AP after every epoch, a row for each run.

    Args:
        runs: results of an experiment.
        retested: results of the same runs, tested in another way, for the last column.
        data: name of the data set.
        models: names, in the order of the rows.

    Returns:
        str: a table of Markdown. What was not evaluated has a dash.

    Raises:
        ConfigError: there is no run of a model.
    """
    other = {(run["model"], run["seed"]): run["AP"] for run in retested}
    chosen = [run for model in models for run in select(runs, data, model)]
    curves = [{row["epoch"]: row["AP"] for row in run["by_epoch"]} for run in chosen]
    epochs = sorted(set().union(*curves))
    rows = [
        [
            run["model"],
            str(run["seed"]),
            *(_points(curve.get(epoch)) for epoch in epochs),
            _points(other.get((run["model"], run["seed"]))),
        ]
        for run, curve in zip(chosen, curves, strict=True)
    ]
    return markdown_table(["model", "seed", *map(str, epochs), "retested"], rows)


def table_of_proposals(
    start: str | Path,
    end: str | Path,
    runs: Sequence[Run],
    retested: Sequence[Run],
    data: str,
    models: Sequence[str],
) -> str:
    """Lay out where a run's queries come from beside its AP, the best run first.

    Args:
        start: folder of files that ``tools/experiments/proposals.py --json`` wrote
            without a checkpoint, named ``DATA_MODEL_seedN.json``.
        end: the same of the trained models.
        runs: results of an experiment.
        retested: results of the same runs, tested in another way.
        data: name of the data set.
        models: names.

    Returns:
        str: a table of Markdown. A run whose proposals were not counted has no row.

    Raises:
        ConfigError: no run of these models was counted.
    """
    other = {(run["model"], run["seed"]): run["AP"] for run in retested}
    chosen = [run for model in models for run in select(runs, data, model)]
    rows, levels = [], []
    for run in sorted(chosen, key=lambda run: run["AP"], reverse=True):
        file = f"{data}_{run['model']}_seed{run['seed']}.json"
        if not Path(end, file).is_file():
            continue
        before = load_measurement(Path(start, file))
        after = load_measurement(Path(end, file))
        levels = [f"level {level}" for level in range(len(after["levels"]))]
        rows.append(
            [
                run["model"],
                str(run["seed"]),
                f"{before['queries'][0]:.0%}",
                *(f"{share:.0%}" for share in after["levels"]),
                f"{after['per_object']:.1f}",
                _points(run["by_epoch"][0]["AP"]),
                _points(run["AP"]),
                _points(other.get((run["model"], run["seed"]))),
            ]
        )
    if not rows:
        raise ConfigError(f"no run of {', '.join(models)} has its proposals counted")
    header = ["model", "seed", "level 0 at the start", *levels, "per object"]
    header += ["AP after one epoch", "AP", "retested"]
    return markdown_table(header, rows)


def _points(number: float | None) -> str:
    return "–" if number is None else f"{number:.1f}"


def table_of_layers(files: Sequence[str | Path], column: str) -> str:
    """Lay out one column of what was followed, a row for each file, by layer.

    Args:
        files: that ``tools/experiments/follow.py --json`` wrote, of models with the
            same layers.
        column: of :data:`~mmdet_lite.experiments.follow.COLUMNS`.

    Returns:
        str: a table of Markdown; a layer that has no such thing has a dash.

    Raises:
        ConfigError: a file does not exist.
    """
    rows, layers = [], []
    for file in map(Path, files):
        if not file.is_file():
            raise ConfigError(f"there is no file {file} of followed layers")
        followed = load_measurement(file)["layers"]
        layers = [row["layer"].replace(".layers.", " ") for row in followed]
        numbers = [row[column] for row in followed]
        cells = ["–" if number is None else f"{number:.2f}" for number in numbers]
        rows.append([file.stem, *cells])
    return markdown_table(["run", *layers], rows)


def table_of_errors(files: Sequence[str | Path]) -> str:
    """Lay out what each kind of error costs, a row for each file.

    Args:
        files: that ``tools/experiments/errors.py --json`` wrote.

    Returns:
        str: a table of Markdown, in points of AP50.

    Raises:
        ConfigError: a file does not exist.
    """
    rows = []
    for file in map(Path, files):
        if not file.is_file():
            raise ConfigError(f"there is no file {file} of errors")
        errors = load_measurement(file)
        costs = [errors["cost"][kind] for kind in KINDS]
        rows.append(
            [file.stem, *(f"{number:.1f}" for number in [errors["AP50"], *costs])]
        )
    return markdown_table(["run", "AP50", *KINDS.values()], rows)


def _mean_and_deviation(numbers: list[float | None]) -> str:
    """``47.1 ± 0.8``; a single run has no deviation."""
    known = [number for number in numbers if number is not None]
    if not known:
        return "–"
    if len(known) == 1:
        return f"{known[0]:.1f}"
    return f"{mean(known):.1f} ± {stdev(known):.1f}"


def _comparison(kept: dict[str, Any]) -> list[str]:
    ratio, difference = f"{kept['ratio']:.1%}", f"{kept['difference']:+.1f}"
    if kept["ratio_interval"] is not None:
        low, high = kept["ratio_interval"]
        ratio += f" ({low:.1%} to {high:.1%})"
        low, high = kept["difference_interval"]
        difference += f" ({low:+.1f} to {high:+.1f})"
    return [ratio, difference]


def fill_page(page: str | Path) -> None:
    """Write the tables and figures of a Markdown page anew from the runs that it names.

    ``<!-- runs: FOLDER DATA REFERENCE MODEL ... -->`` starts a table,
    ``<!-- classes: FOLDER DATA MODEL ... -->`` one by class,
    ``<!-- epochs: FOLDER RETESTED DATA MODEL ... -->`` one by epoch,
    ``<!-- proposals: START END RUNS RETESTED DATA MODEL ... -->`` one of proposals,
    ``<!-- layers: FOLDER COLUMN FILE ... -->`` one by layer, of files without their
    ``.json``, ``<!-- errors: FOLDER FILE ... -->`` one of kinds of error, and
    ``<!-- keeps: FOLDER DATA MODEL REFERENCE [METRIC] -->`` a figure in a sentence; all
    end at ``<!-- end -->``. FOLDER is relative to the page.

    Raises:
        ConfigError: the page asks to compare what was not run.
    """
    root = Path(page).parent

    def files(folder: str, names: Sequence[str]) -> list[Path]:
        return [root / folder / f"{name}.json" for name in names]

    fill_blocks(
        page,
        {
            "runs": lambda folder, data, *models: table(
                load_runs(root / folder), data, models
            ),
            "classes": lambda folder, data, *models: table_of_classes(
                load_runs(root / folder), data, models
            ),
            "epochs": lambda folder, retested, data, *models: table_of_epochs(
                load_runs(root / folder), load_runs(root / retested), data, models
            ),
            "proposals": lambda start, end, of, retested, data, *models: (
                table_of_proposals(
                    root / start,
                    root / end,
                    load_runs(root / of),
                    load_runs(root / retested),
                    data,
                    models,
                )
            ),
            "layers": lambda folder, column, *names: table_of_layers(
                files(folder, names), column
            ),
            "errors": lambda folder, *names: table_of_errors(files(folder, names)),
            "keeps": lambda folder, *words: _kept_in_words(
                keeps(load_runs(root / folder), *words)
            ),
        },
    )


def _kept_in_words(kept: dict[str, Any]) -> str:
    ratio = f"{kept['ratio']:.1%}"
    if kept["ratio_interval"] is None:
        return f"{ratio} (one seed)"
    low, high = kept["ratio_interval"]
    return f"{ratio} (95 % interval {low:.1%} to {high:.1%}, {kept['seeds']} seeds)"


def plot_curves(
    runs: Sequence[Run], data: str, models: Sequence[str], path: str | Path
) -> None:
    """Draw AP by epoch: the mean over seeds, and from the lowest to the highest.

    Args:
        runs: results of an experiment.
        data: name of the data set.
        models: names, in the order of the legend.
        path: picture to write.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for model in models:
        chosen = select(runs, data, model)
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
    figure.savefig(path, dpi=120)
