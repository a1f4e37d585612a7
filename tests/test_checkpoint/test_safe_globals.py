"""Checkpoints of mmengine load under PyTorch's protection, and nothing else does."""

import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import CheckpointLoader

import mmdet_lite  # noqa: F401  (declares the types)
from mmdet_lite.errors import ConfigError

# As callers of PyTorch read a file, and as mmengine's runner does.
READERS = pytest.mark.parametrize(
    "read",
    [
        partial(torch.load, weights_only=True),
        partial(CheckpointLoader.load_checkpoint, logger="silent"),
    ],
    ids=["torch", "mmengine"],
)


class Reducing:
    """Has unpickling call a function of choice."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.fixture
def log(tmp_path) -> Path:
    """Checkpoint with the log of a training."""
    hub = MessageHub("training")
    for step in range(3):
        hub.update_scalar("train/loss", np.float64(step) / 3)
        hub.update_scalar("train/lr", 0.1)
    hub.update_info("epoch", np.int64(4))
    path = tmp_path / "checkpoint.pth"
    torch.save({"state_dict": {}, "message_hub": hub.state_dict()}, path)
    return path


@READERS
def test_a_training_log_loads(log, read):
    loaded = read(str(log))["message_hub"]
    history, _ = loaded["log_scalars"]["train/loss"].data
    assert history.tolist() == [0.0, 1 / 3, 2 / 3]
    assert loaded["runtime_info"]["epoch"] == 4


@READERS
def test_a_training_log_loads_after_others_withdrew_its_types(log, read):
    with torch.serialization.safe_globals([HistoryBuffer, np.ndarray, np.dtype]):
        pass  # As onedl-mmengine reads a file.
    assert "train/loss" in read(str(log))["message_hub"]["log_scalars"]


@READERS
def test_code_in_a_file_does_not_run(tmp_path, read):
    path, trace = tmp_path / "harmful.pth", tmp_path / "ran"
    torch.save({"state_dict": Reducing(exec, f"open({str(trace)!r}, 'w')")}, path)
    with pytest.raises((pickle.UnpicklingError, ConfigError), match="exec"):
        read(str(path))
    assert not trace.exists()


@READERS
def test_a_file_looks_up_no_attribute_but_statistics(tmp_path, read):
    path = tmp_path / "curious.pth"
    torch.save({"state_dict": Reducing(getattr, HistoryBuffer, "__init__")}, path)
    with pytest.raises((TypeError, ConfigError), match="not look up '__init__'"):
        read(str(path))


def test_a_path_may_start_at_home(log, monkeypatch):
    monkeypatch.setenv("HOME", str(log.parent))
    assert "message_hub" in CheckpointLoader.load_checkpoint("~/checkpoint.pth")
