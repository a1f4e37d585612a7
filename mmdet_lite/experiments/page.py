"""Write the figures of a page from the runs that it names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..markdown import fill_blocks
from .comparison import keeps, load_runs
from .tables import (
    table,
    table_of_classes,
    table_of_epochs,
    table_of_errors,
    table_of_layers,
    table_of_proposals,
    table_of_reruns,
)


def fill_page(page: str | Path) -> None:
    """Write the tables and figures of a Markdown page anew from the runs that it names.

    ``<!-- runs: FOLDER DATA REFERENCE MODEL ... -->`` starts a table,
    ``<!-- means: FOLDER DATA MODEL ... -->`` one without comparisons by seed,
    ``<!-- classes: FOLDER DATA MODEL ... -->`` one by class,
    ``<!-- epochs: FOLDER RETESTED DATA MODEL ... -->`` one by epoch,
    ``<!-- proposals: START END RUNS RETESTED DATA MODEL ... -->`` one of proposals,
    ``<!-- layers: FOLDER COLUMN FILE ... -->`` one by layer, of files without their
    ``.json``, ``<!-- errors: FOLDER FILE ... -->`` one of kinds of error,
    ``<!-- reruns: FOLDER AGAIN -->`` one of runs that were repeated, and
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
            "means": lambda folder, data, *models: table(
                load_runs(root / folder), data, models, compare=False
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
            "reruns": lambda folder, again: table_of_reruns(
                load_runs(root / folder), load_runs(root / again)
            ),
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
    between = f"{low:.1%} to {high:.1%}"
    if kept["interval"] == "range":
        return f"{ratio} ({between} in {kept['seeds']} seeds)"
    return f"{ratio} ({kept['interval']} {between}, {kept['seeds']} seeds)"
