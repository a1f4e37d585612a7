"""Train a step, alone or as one of several processes; write losses and gradients.

python one_step.py CONFIG LAUNCHER OUT
"""

import os
import sys

import torch
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdet_lite.runtime import process_group


class Record(Hook):
    """Keeps what a step had, before the optimizer changes it."""

    def before_train(self, runner):
        runner.optim_wrapper.optimizer.register_step_pre_hook(
            lambda *_: self.keep_gradients(runner.model)
        )

    def keep_gradients(self, model):
        model = getattr(model, "module", model)
        self.gradients = {
            name: parameter.grad.clone()
            for name, parameter in model.named_parameters()
            if parameter.grad is not None
        }

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses = {name: value.detach() for name, value in outputs.items()}
        self.images = [sample.img_id for sample in data_batch["data_samples"]]


def main(config, launcher, out):
    """Train and write."""
    register_all_modules(init_default_scope=True)
    cfg = Config.fromfile(config)
    cfg.launcher = launcher
    record = Record()
    with process_group(cfg):
        runner = Runner.from_cfg(cfg)
        runner.register_hook(record)
        runner.train()
    names = ("losses", "gradients", "images")
    rank = os.environ.get("RANK", "0")
    torch.save({name: getattr(record, name) for name in names}, f"{out}{rank}")


if __name__ == "__main__":
    main(*sys.argv[1:])
