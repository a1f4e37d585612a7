"""A grid names its cells, and says what is wrong with it."""

import pytest
import yaml

from mmdet_lite.errors import ConfigError
from mmdet_lite.experiments.grid import read_grid

GRID = {
    "runs": "runs",
    "options": {"train_cfg.max_epochs": 2},
    "data": {"cells": {"options": {"val_dataloader.batch_size": 3}}},
    "models": {
        "dino": {"config": "{data}.py", "options": {"model.type": "DINO"}},
        "lite": {"config": "mmdet::{data}.py"},
    },
    "cells": [
        {"models": ["dino", "lite"], "data": ["cells"], "seeds": [0, 1]},
        {"models": ["lite"], "data": ["cells"], "seeds": [1, 2]},
    ],
}


def write(tmp_path, **changes):
    path = tmp_path / "grid.yml"
    path.write_text(yaml.safe_dump({**GRID, **changes}))
    return path


def test_cells_are_the_products_in_order_each_once(tmp_path):
    grid = read_grid(write(tmp_path))
    assert [cell.name for cell in grid.cells] == [
        "cells_dino_seed0",
        "cells_lite_seed0",
        "cells_dino_seed1",
        "cells_lite_seed1",
        "cells_lite_seed2",
    ]
    assert grid.runs == tmp_path / "runs"


def test_a_cell_has_the_options_of_grid_data_and_model(tmp_path):
    dino, lite = read_grid(write(tmp_path)).cells[:2]
    assert dino.config == str(tmp_path / "cells.py")
    assert lite.config == "mmdet::cells.py"
    assert dino.options == {
        "train_cfg.max_epochs": 2,
        "val_dataloader.batch_size": 3,
        "model.type": "DINO",
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cells": [{"models": ["dino"]}]}, "must list models, data and seeds"),
        (
            {"cells": [{"models": ["detr"], "data": ["cells"], "seeds": [0]}]},
            "name detr, which is not among its models: dino, lite",
        ),
        (
            {"cells": [{"models": ["dino"], "data": ["cells"], "seeds": ["a"]}]},
            "seed of .* must be an integer, but got 'a'",
        ),
        ({"models": {"dino": {}}, "cells": GRID["cells"][:1]}, "names no config"),
        ({"seeds": [1]}, "does not know seeds"),
    ],
)
def test_a_broken_grid_is_refused(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        read_grid(write(tmp_path, **changes))


def test_a_missing_grid_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yml cannot be read"):
        read_grid(tmp_path / "none.yml")


def test_the_grids_of_the_documentation_read_their_configs(repository):
    grids = sorted((repository / "docs" / "evidence").glob("*.yml"))
    assert grids
    for path in grids:
        for cell in read_grid(path).cells:
            assert cell.read_config().randomness.seed == cell.seed
