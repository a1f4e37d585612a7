"""What keeps a run whole works where several processes share it."""

import pickle
from pathlib import Path

import pytest
import torch
from several_processes import run_in_several

from mmdet_lite.engine import STOPPED

SCRIPT = Path(__file__).with_name("one_of_several.py")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(torch.cuda.is_available(), reason="they would take the GPU"),
]


@pytest.fixture
def run(run_config, tmp_path):
    """Function that trains in two processes; return their results."""
    run_config.merge_from_dict(
        {
            "launcher": "pytorch",
            "log_level": "INFO",
            "randomness.seed": 0,
            "train_dataloader.batch_size": 1,
        }
    )

    def start(name, mode, *disturbance):
        run_config.work_dir = str(tmp_path / name)
        (tmp_path / "config.pkl").write_bytes(pickle.dumps(run_config))
        return run_in_several(2, SCRIPT, tmp_path / "config.pkl", mode, *disturbance)

    return start


def statuses(results):
    return [result.returncode for result in results]


def test_a_signal_to_one_stops_all_and_the_run_goes_on_to_the_same_weights(
    run, final_state, tmp_path
):
    whole = run("whole", "train")
    assert statuses(whole) == [0, 0], whole[0].stderr[-3000:] + whole[1].stderr[-3000:]
    # Eight images, one a step in each of two processes, twice; the first logs for all.
    assert whole[0].stdout.count("Epoch(train)") == 2 * 4
    assert whole[1].stdout.count("Epoch(") == 0
    stopped = run("stopped", "train", "stop", 3, 1)
    assert statuses(stopped) == [STOPPED, STOPPED]
    assert torch.load(tmp_path / "stopped" / "interrupted.pth")["meta"]["iter"] == 3
    assert statuses(run("stopped", "resume")) == [0, 0]
    expected = final_state("epoch_2.pth", tmp_path / "whole")
    state = final_state("epoch_2.pth", tmp_path / "stopped")
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_all_leave_a_batch_out_in_which_one_meets_nan(run, tmp_path):
    results = run("spoilt", "train", "spoil", 2, 1)
    assert statuses(results) == [0, 0], results[0].stderr[-3000:]
    assert "iteration 2: on another device a loss" in results[0].stdout
    weights = torch.load(tmp_path / "spoilt" / "epoch_2.pth")["state_dict"]
    assert all(torch.isfinite(weight).all() for weight in weights.values())
