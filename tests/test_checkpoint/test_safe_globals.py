"""Checkpoints of mmengine load under PyTorch's protection, and nothing else does."""

import pickle

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub

import mmdet_lite  # noqa: F401  (declares the types)


def test_a_training_log_loads(tmp_path):
    hub = MessageHub.get_instance("test_a_training_log_loads")
    for step in range(3):
        hub.update_scalar("train/loss", np.float64(step) / 3)
        hub.update_scalar("train/lr", 0.1)
    hub.update_info("epoch", np.int64(4))
    path = tmp_path / "checkpoint.pth"
    torch.save({"state_dict": {}, "message_hub": hub.state_dict()}, path)
    loaded = torch.load(path, weights_only=True)["message_hub"]
    history, _ = loaded["log_scalars"]["train/loss"].data
    assert history.tolist() == [0.0, 1 / 3, 2 / 3]
    assert loaded["runtime_info"]["epoch"] == 4


def test_other_types_stay_refused(tmp_path):
    class Harmful:
        def __reduce__(self):
            return exec, ("raise SystemError('code of the checkpoint ran')",)

    path = tmp_path / "harmful.pth"
    torch.save({"state_dict": Harmful()}, path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
