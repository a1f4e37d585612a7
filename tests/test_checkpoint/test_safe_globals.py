"""Checkpoints of mmengine load under PyTorch's protection, and nothing else does."""

import io
import pickle
from collections import deque
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer, MessageHub, MMLogger
from mmengine.optim import OneCycleLR
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.runner import CheckpointLoader
from torch import nn
from torch.optim import SGD

import mmdet_lite  # noqa: F401  (declares the types)
from mmdet_lite.checkpoint.durable import DurableBackend
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
@pytest.mark.parametrize(
    "value",
    [
        np.float32(1.5),
        np.int32(-7),
        np.str_("WBC"),
        np.arange(6, dtype=np.uint8).reshape(2, 3),
        np.array(["WBC", "RBC"]),
        ConfigDict(classes=("WBC",), palette=[(1, 2, 3)]),
        slice(1, 9, 2),
        range(3),
        frozenset({"a"}),
        Path("data") / "bccd",
    ],
    ids=repr,
)
def test_what_hooks_and_metrics_keep_loads(tmp_path, read, value):
    path = tmp_path / "checkpoint.pth"
    torch.save({"message_hub": {"runtime_info": {"best_score": value}}}, path)
    loaded = read(str(path))["message_hub"]["runtime_info"]["best_score"]
    assert type(loaded) is type(value)
    assert np.array_equal(loaded, value)


@READERS
@pytest.mark.parametrize("strategy", ["cos", "linear"])
def test_the_state_of_a_one_cycle_schedule_loads(tmp_path, read, strategy):
    path = tmp_path / "checkpoint.pth"

    def start():
        optimizer = SGD([nn.Parameter(torch.ones(1))], lr=0.1)
        return OneCycleLR(optimizer, 0.5, 9, anneal_strategy=strategy)

    def rates(scheduler, steps):
        for _ in range(steps):
            scheduler.optimizer.step()
            scheduler.step()
            yield scheduler.get_last_value()

    expected = list(rates(start(), 6))[2:]
    interrupted = start()
    list(rates(interrupted, 2))
    parts = {"optimizer": interrupted.optimizer, "scheduler": interrupted}
    torch.save({name: part.state_dict() for name, part in parts.items()}, path)
    loaded, resumed = read(str(path)), start()
    resumed.optimizer.load_state_dict(loaded["optimizer"])
    resumed.load_state_dict(loaded["scheduler"])
    assert list(rates(resumed, 4)) == expected


@pytest.mark.parametrize(
    ("value", "named"),
    [(deque([1]), "collections.deque"), (np.float32(1), None)],
    ids=["undeclared", "declared"],
)
def test_what_will_not_load_is_said_when_it_is_saved(tmp_path, caplog, value, named):
    content = io.BytesIO()
    torch.save({"message_hub": {"runtime_info": {"window": value}}}, content)
    path = tmp_path / "epoch_1.pth"
    with caplog.at_level("WARNING", MMLogger.get_current_instance().name):
        MMLogger.get_current_instance().addHandler(caplog.handler)
        DurableBackend().put(content.getvalue(), path)
    MMLogger.get_current_instance().removeHandler(caplog.handler)
    assert path.read_bytes() == content.getvalue()
    assert [f"holds {named}" in line for line in caplog.messages] == [True] * bool(
        named
    )


@READERS
def test_a_training_log_loads_after_others_withdrew_its_types(log, read):
    with torch.serialization.safe_globals([HistoryBuffer, np.ndarray, np.dtype]):
        pass  # As onedl-mmengine reads a file.
    assert "train/loss" in read(str(log))["message_hub"]["log_scalars"]


@READERS
def test_weights_and_an_optimizer_load(tmp_path, read):
    model = nn.Conv2d(2, 3, 1, dtype=torch.bfloat16)
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 2, 1, 1, dtype=torch.bfloat16)).sum().backward()
    optimizer.step()
    content = {"state_dict": model.state_dict(), "optimizer": optimizer.state_dict()}
    path = tmp_path / "checkpoint.pth"
    torch.save(content, path)
    loaded = read(str(path))
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded["state_dict"][name], weight)
    momentum = loaded["optimizer"]["state"][0]["momentum_buffer"]
    assert torch.equal(momentum, model.weight.grad)


@READERS
def test_code_in_a_file_does_not_run(tmp_path, read):
    path, trace = tmp_path / "harmful.pth", tmp_path / "ran"
    torch.save({"state_dict": Reducing(exec, f"open({str(trace)!r}, 'w')")}, path)
    with pytest.raises((pickle.UnpicklingError, ConfigError), match="exec"):
        read(str(path))
    assert not trace.exists()


@READERS
@pytest.mark.parametrize("owner", [HistoryBuffer, OneCycleParamScheduler])
def test_a_file_looks_up_no_other_attribute(tmp_path, read, owner):
    path = tmp_path / "curious.pth"
    torch.save({"state_dict": Reducing(getattr, owner, "__init__")}, path)
    with pytest.raises((TypeError, ConfigError), match="not look up '__init__'"):
        read(str(path))


def test_a_path_may_start_at_home(log, monkeypatch):
    monkeypatch.setenv("HOME", str(log.parent))
    assert "message_hub" in CheckpointLoader.load_checkpoint("~/checkpoint.pth")
