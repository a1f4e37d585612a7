"""The rows of the model zoo, read from ``configs/lite_detr/model_zoo.yml``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.fileio import load

from mmdet_lite.errors import ConfigError

CONFIG_FOLDER = "configs/lite_detr"


def rows_of(zoo: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every row of every table."""
    for table in zoo["tables"]:
        yield from table["rows"]


def configs_of(zoo: dict[str, Any]) -> list[str]:
    """Every config that a row names, once: a file name, or ``mmdet::PATH``."""
    return list(dict.fromkeys(row["config"] for row in rows_of(zoo)))


def read_zoo(repository: str | Path) -> dict[str, Any]:
    """Read the rows of the zoo.

    Raises:
        ConfigError: a config of the repository has no row, a row has no config, or its
            run is not there.
    """
    folder = Path(repository) / CONFIG_FOLDER
    zoo = load(folder / "model_zoo.yml")
    named = {name for name in configs_of(zoo) if "::" not in name}
    there = {path.name for path in folder.glob("*.py")}
    if named != there:
        raise ConfigError(
            f"{folder / 'model_zoo.yml'} and the configs beside it differ: "
            f"{', '.join(sorted(named ^ there))}"
        )
    for row in rows_of(zoo):
        if "run" in row and not Path(repository, row["run"]).is_file():
            raise ConfigError(f"{row['config']} has no run {row['run']}")
    return zoo
