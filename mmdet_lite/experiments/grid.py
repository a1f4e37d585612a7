"""What an experiment trains: models × data × seeds, read from a YAML file."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config

from ..config_file import read_config
from ..errors import ConfigError


@dataclass(frozen=True)
class Cell:
    """One training of a grid.

    Attributes:
        model: name of the model in the grid.
        data: name of the data set in the grid.
        seed: random seed of the training.
        config: path of the config, or ``mmdet::PATH``.
        options: what the grid changes of that config.
    """

    model: str
    data: str
    seed: int
    config: str
    options: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the cell's files, ``DATA_MODEL_seedN``."""
        return f"{self.data}_{self.model}_seed{self.seed}"

    def read_config(self) -> Config:
        """Read the config with the cell's options and seed.

        Raises:
            ConfigError: there is no such config.
        """
        return read_config(self.config, {**self.options, "randomness.seed": self.seed})


@dataclass(frozen=True)
class Grid:
    """The cells of an experiment, in the order in which they are to be trained.

    Attributes:
        path: the YAML file.
        runs: folder of the results, one JSON a cell.
        cells: the trainings.
    """

    path: Path
    runs: Path
    cells: tuple[Cell, ...]


def read_grid(path: str | Path) -> Grid:
    """Read a grid.

    The file says, all paths relative to itself::

        runs: runs                 # folder of the results
        options: {...}             # of every cell, as --cfg-options
        data:
          bccd: {}                 # may have options of its own
        models:
          dino:
            config: lite-dino_{data}.py   # {data} is the name of the data set
            options: {model.type: DINO}
        cells:                     # the Cartesian product of each entry, in order
          - {models: [dino], data: [bccd], seeds: [0, 1, 2]}

    Args:
        path: the YAML file.

    Raises:
        ConfigError: the file is missing or is no such grid.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"the grid {path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(
            f"the grid {path} is not readable as YAML: {error}"
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(f"the grid {path} must be a mapping of settings")
    known = {"runs", "options", "data", "models", "cells"}
    for problem, names in (
        ("lacks", {"runs", "data", "models", "cells"} - set(content)),
        ("does not know", set(content) - known),
    ):
        if names:
            raise ConfigError(f"the grid {path} {problem} {', '.join(sorted(names))}")
    cells = {cell.name: cell for cell in _cells_of(path, content)}
    return Grid(path, path.parent / content["runs"], tuple(cells.values()))


def _cells_of(path: Path, content: dict[str, Any]) -> Iterator[Cell]:
    for entry in content["cells"]:
        for key in ("models", "data", "seeds"):
            if not isinstance(entry, dict) or not isinstance(entry.get(key), list):
                raise ConfigError(
                    f"each entry of cells in {path} must list models, data and seeds, "
                    f"but got {entry}"
                )
        for seed in entry["seeds"]:
            for data in entry["data"]:
                for model in entry["models"]:
                    yield _cell(path, content, model, data, seed)


def _cell(
    path: Path, content: dict[str, Any], model: str, data: str, seed: int
) -> Cell:
    for kind, name in (("models", model), ("data", data)):
        if name not in content[kind]:
            raise ConfigError(
                f"cells of {path} name {name}, which is not among its {kind}: "
                f"{', '.join(content[kind])}"
            )
    if not isinstance(seed, int):
        raise ConfigError(f"a seed of {path} must be an integer, but got {seed!r}")
    config = content["models"][model].get("config")
    if not isinstance(config, str):
        raise ConfigError(f"model {model} of {path} names no config")
    config = config.format(data=data)
    if "::" not in config:
        config = str(path.parent / config)
    options: dict[str, Any] = {}
    for part in (content, content["data"][data] or {}, content["models"][model]):
        options.update(part.get("options") or {})
    return Cell(model, data, seed, config, options)
