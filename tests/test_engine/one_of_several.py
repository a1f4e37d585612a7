"""Train the tiny detector as one of several processes, as tools/train.py does.

python one_of_several.py CONFIG (train|resume) [(stop|spoil) ITERATION RANK]
"""

import os
import pickle
import signal
import sys
from pathlib import Path

from conftest import TinyDetector
from mmdet.utils import register_all_modules
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdet_lite.cli import exit_on_config_error, resume_training
from mmdet_lite.engine import make_resumable, stop_at_invalid_loss
from mmdet_lite.runtime import process_group


class Disturb(Hook):
    """Sends one process a signal, or gives it an image that is not a number."""

    priority = "VERY_HIGH"

    def __init__(self, what="", iteration=0, rank=0):
        self.what, self.place = what, (int(iteration), int(rank))

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if (runner.iter + 1, runner.rank) != self.place:
            return
        if self.what == "stop":
            os.kill(os.getpid(), signal.SIGTERM)
        if self.what == "spoil":
            data_batch["inputs"][0] = data_batch["inputs"][0] * float("nan")


def main(config, mode, *disturbance):
    """Train."""
    assert TinyDetector is not None  # Imported to be registered.
    register_all_modules(init_default_scope=True)
    with exit_on_config_error():
        cfg = pickle.loads(Path(config).read_bytes())
        if mode == "resume":
            resume_training(cfg, "auto")
        make_resumable(cfg)
        stop_at_invalid_loss(cfg, "skip")
        with process_group(cfg):
            runner = Runner.from_cfg(cfg)
            runner.register_hook(Disturb(*disturbance))
            runner.train()


if __name__ == "__main__":
    main(*sys.argv[1:])
