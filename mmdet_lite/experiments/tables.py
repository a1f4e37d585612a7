"""Lay out the runs of an experiment as tables of Markdown."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from ..benchmark.measurement import load_measurement
from ..errors import ConfigError
from ..markdown import markdown_table
from ..run_logs import METRICS
from .comparison import Run, keeps, select
from .errors import KINDS


def table(
    runs: Sequence[Run], data: str, models: Sequence[str], compare: bool = True
) -> str:
    """Lay out mean ± standard deviation over seeds, the first model the reference.

    Args:
        runs: results of an experiment.
        data: name of the data set.
        models: names, in the order of the rows.
        compare: whether models are compared with the first, seed by seed. Not where
            the same seed drew other noise.

    Returns:
        str: a table of Markdown. A model without a run has a row that says so.
    """
    header = ["model", "seeds", *METRICS]
    if compare:
        header += [f"of {models[0]}'s AP", "difference in AP"]
    header.append("encoder GFLOPs")
    rows = []
    for model in models:
        try:
            chosen = select(runs, data, model)
        except ConfigError:
            rows.append([model, "not run", *[""] * (len(header) - 2)])
            continue
        cells = [_mean_and_deviation([run[name] for run in chosen]) for name in METRICS]
        comparison = ["", ""] if compare else []
        if compare and model != models[0]:
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
    other = _points_by_run(retested, data)
    chosen = [run for model in models for run in select(runs, data, model)]
    curves = [{row["epoch"]: row["AP"] for row in run["by_epoch"]} for run in chosen]
    epochs = sorted(set().union(*curves))
    rows = [
        [
            run["model"],
            str(run["seed"]),
            *(_points(curve.get(epoch)) for epoch in epochs),
            other.get((run["model"], run["seed"]), "–"),
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
    other = _points_by_run(retested, data)
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
                other.get((run["model"], run["seed"]), "–"),
            ]
        )
    if not rows:
        raise ConfigError(f"no run of {', '.join(models)} has its proposals counted")
    header = ["model", "seed", "level 0 at the start", *levels, "per object"]
    header += ["AP after one epoch", "AP", "retested"]
    return markdown_table(header, rows)


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


def table_of_reruns(runs: Sequence[Run], again: Sequence[Run]) -> str:
    """Lay out runs beside those that repeated them, and beside all of their seeds.

    Args:
        runs: results of an experiment.
        again: results of the same cells, trained a second time.

    Returns:
        str: a table of Markdown, a row for each run that was repeated.

    Raises:
        ConfigError: a run was not made before it was repeated.
    """
    rows = []
    for rerun in again:
        seeds = select(runs, rerun["data"], rerun["model"])
        first = [run for run in seeds if run["seed"] == rerun["seed"]]
        if not first:
            raise ConfigError(
                f"no run of {rerun['model']} on {rerun['data']} has seed "
                f"{rerun['seed']}, which was run again"
            )
        cells = (
            cell
            for run in (first[0], rerun)
            for cell in (_points(run["AP"]), run["environment"]["commit"] or "–")
        )
        spread = _mean_and_deviation([run["AP"] for run in seeds])
        rows.append([rerun["data"], rerun["model"], str(rerun["seed"]), *cells, spread])
    header = ["data", "model", "seed", "AP", "commit", "AP again", "commit"]
    return markdown_table([*header, "AP of all its seeds"], rows)


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


def _points_by_run(runs: Sequence[Run], data: str) -> dict[tuple[str, int], str]:
    return {
        (run["model"], run["seed"]): _points(run["AP"])
        for run in runs
        if run["data"] == data
    }


def _points(number: float | None) -> str:
    return "–" if number is None else f"{number:.1f}"
