"""A grid trains what is missing, goes on after an interruption, keeps what came out."""

import json
import os
import signal
import time

import pytest
import yaml

from mmdet_lite.errors import ConfigError
from mmdet_lite.experiments import run
from mmdet_lite.experiments.grid import read_grid
from mmdet_lite.experiments.run import (
    result_path,
    retest_cell,
    retest_grid,
    run_grid,
    train_cell,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def grid(tmp_path, digits_root, repository, monkeypatch):
    """One cell: two epochs of two iterations on tiny images."""
    monkeypatch.setenv("DIGITS_ROOT", str(digits_root))
    digits = "lite-dino_h3l1-2p1x3_r18_1xb4-3e_digits.py"
    options = {
        "train_cfg.max_epochs": 2,
        "param_scheduler": [],
        "model.decoder.num_layers": 1,
        "model.num_queries": 10,
        "model.test_cfg.max_per_img": 10,
        "model.encoder.layer_cfg.ffn_cfg.feedforward_channels": 32,
        "train_dataloader.num_workers": 0,
        "train_dataloader.persistent_workers": False,
        "val_dataloader.num_workers": 0,
        "val_dataloader.persistent_workers": False,
        "default_hooks.logger.interval": 1,
        "val_evaluator.classwise": True,
    }
    path = tmp_path / "grid.yml"
    path.write_text(
        yaml.safe_dump(
            {
                "runs": "runs",
                "options": options,
                "data": {"digits": None},
                "models": {
                    "lite": {"config": str(repository / "configs/lite_detr" / digits)}
                },
                "cells": [{"models": ["lite"], "data": ["digits"], "seeds": [3]}],
            }
        )
    )
    return read_grid(path)


def test_a_cell_is_trained_once_and_its_run_is_kept(grid, tmp_path):
    lines = []
    assert run_grid(grid, tmp_path / "work", threads=2, say=lines.append) == []
    record = json.loads(result_path(grid, grid.cells[0]).read_text())
    assert (record["model"], record["data"], record["seed"]) == ("lite", "digits", 3)
    assert [epoch["epoch"] for epoch in record["by_epoch"]] == [1, 2]
    assert record["epochs"] == 2
    assert "0" in record["by_class"]
    assert record["AP"] == record["by_epoch"][-1]["AP"]
    assert [step for step, _ in record["losses"]] == [1, 2, 3, 4]
    assert all(loss > 0 for _, loss in record["losses"])
    assert record["seconds"] > 1
    assert record["peak_memory"] > 100e6
    assert record["encoder_gflops"] > 0
    assert record["image_shape"] == [160, 160]
    assert record["threads"] == record["environment"]["threads"] == 2
    assert record["interruptions"] == 0
    assert "randomness = dict(seed=3)" in record["config"]
    assert record["environment"]["versions"]["torch"]

    lines.clear()
    assert run_grid(grid, tmp_path / "work", say=lines.append) == []
    assert lines == ["1 cells, 0 to train"]

    # Tested once more with the same settings, its checkpoint gives the same metrics.
    (cell,) = grid.cells
    options = {"test_evaluator.classwise": True}
    runs = tmp_path / "retested"
    assert retest_grid(grid, tmp_path / "work", runs, options, say=lines.append) == []
    again = json.loads((runs / f"{cell.name}.json").read_text())
    for name in ("model", "data", "seed", "AP", "AP50", "by_class", "encoder_gflops"):
        assert again[name] == record[name]
    assert again["options"] == options


@pytest.mark.parametrize("named", [None, ""], ids=["no file", "an empty file"])
def test_a_cell_without_a_checkpoint_is_not_retested(grid, tmp_path, named):
    if named is not None:
        (tmp_path / "last_checkpoint").write_text(named)
    with pytest.raises(ConfigError, match="holds no checkpoint to test"):
        retest_cell(grid.cells[0], tmp_path, {}, {}, threads=1)


def test_a_killed_training_goes_on_from_its_checkpoint(grid, tmp_path, monkeypatch):
    (cell,) = grid.cells
    work_dir = tmp_path / "work" / cell.name
    wait = os.wait4

    def kill_after_the_first_epoch(pid, options):
        while not (work_dir / "last_checkpoint").exists():
            time.sleep(0.01)
        os.kill(pid, signal.SIGKILL)
        return wait(pid, options)

    monkeypatch.setattr(os, "wait4", kill_after_the_first_epoch)
    lines = []
    assert run_grid(grid, tmp_path / "work", say=lines.append) == [cell.name]
    assert f"failed with status -9; see {work_dir / 'output.log'}" in lines[-1]
    monkeypatch.setattr(os, "wait4", wait)
    record = train_cell(cell, work_dir, threads=2)
    assert "resumed epoch: 1" in (work_dir / "output.log").read_text()
    assert record["interruptions"] == 1
    # The first epoch's evaluation is lost if it was killed before that.
    assert record["by_epoch"][-1]["epoch"] == record["epochs"] == 2
    assert [step for step, _ in record["losses"]] == [1, 2, 3, 4]


def test_a_part_that_was_killed_with_the_grid_counts(grid, tmp_path, monkeypatch):
    (cell,) = grid.cells
    work_dir = tmp_path / "work" / cell.name

    def die(*arguments):
        (work_dir / "output.log").write_text("")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run, "_run_tool", die)
        with pytest.raises(KeyboardInterrupt):
            train_cell(cell, work_dir, threads=2)
    # An hour passed between its start and the last line of its log.
    parts = json.loads((work_dir / "parts.json").read_text())
    parts[0]["started"] -= 3600
    (work_dir / "parts.json").write_text(json.dumps(parts))
    record = train_cell(cell, work_dir, threads=2)
    assert record["interruptions"] == 1
    assert record["seconds"] > 3600
    assert record["peak_memory"] > 100e6


def test_a_failed_cell_names_its_log(grid, tmp_path, monkeypatch):
    (cell,) = grid.cells
    monkeypatch.setenv("DIGITS_ROOT", str(tmp_path / "nowhere"))
    assert run_grid(grid, tmp_path / "work", say=lambda line: None) == [cell.name]
    log = tmp_path / "work" / cell.name / "output.log"
    assert "annotation file" in log.read_text()


def test_a_folder_with_the_training_of_another_config_is_refused(grid, tmp_path):
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "cell.py").write_text("model = None")
    with pytest.raises(ConfigError, match="another config; remove it to start anew"):
        train_cell(grid.cells[0], tmp_path, threads=2)
