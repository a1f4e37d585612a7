"""Logs of mmengine are read as a training or a test leaves them."""

import json

import pytest

from mmdet_lite.errors import ConfigError
from mmdet_lite.run_logs import (
    METRICS,
    evaluations_of,
    last_by_step,
    read_test_log,
    read_training_log,
)


def write_log(work_dir, start, text):
    folder = work_dir / start / "vis_data"
    folder.mkdir(parents=True)
    (folder / "scalars.json").write_text(text)


def test_an_interrupted_training_is_read_in_the_order_of_time(tmp_path):
    # It goes on from step 1; the kill came while step 3 was written.
    write_log(tmp_path, "20260101_120000", '{"loss": 3.5, "step": 2}\n')
    first = '{"loss": 5.0, "step": 1}\n{"loss": 4.0, "step": 2}\n{"loss": 3.'
    write_log(tmp_path, "20260101_110000", first)
    lines = read_training_log(tmp_path)
    assert [line["loss"] for line in lines] == [5.0, 4.0, 3.5]
    assert [line["loss"] for line in last_by_step(lines, "loss")] == [5.0, 3.5]
    assert last_by_step(lines, METRICS["AP"]) == []


def test_files_beside_the_log_of_a_test_are_none(tmp_path):
    for start, ap in (("20260102_110000", 0.4), ("20260101_110000", 0.3)):
        folder = tmp_path / start
        folder.mkdir()
        found = {METRICS["AP"]: ap}
        (folder / f"{start}.json").write_text(json.dumps(found))
        (folder / "results.bbox.json").write_text("[]")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "of_them.json").write_text("no JSON")
    lines = read_test_log(tmp_path)
    assert [line[METRICS["AP"]] for line in lines] == [0.3, 0.4]
    assert evaluations_of(lines, tmp_path) == lines


def test_a_folder_without_an_evaluation_is_named(tmp_path):
    assert read_training_log(tmp_path) == read_test_log(tmp_path) == []
    for lines in ([], [{"loss": 1.0, "step": 1}]):
        with pytest.raises(ConfigError, match=rf"{tmp_path} has no evaluation with"):
            evaluations_of(lines, tmp_path)
