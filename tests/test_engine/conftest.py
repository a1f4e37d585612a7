"""A training of a second: eight digits' images, a tiny model, noise everywhere."""

import contextlib
import itertools

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import nn

from mmdet_lite.cli import read_config, resume_training
from mmdet_lite.engine import check_fit, make_resumable, stop_at_invalid_loss

# What the tiny run has of a whole config.
SETTINGS = (
    *("default_scope", "randomness", "optim_wrapper", "default_hooks"),
    *("train_cfg", "val_cfg", "train_dataloader", "val_dataloader", "val_evaluator"),
)
# mmengine keeps what a run logged under the run's name.
_names = itertools.count()


@MODELS.register_module(force=True)
class TinyDetector(BaseModel):
    """Counts the objects of an image, with a detector's parts and interface."""

    def __init__(self, data_preprocessor):
        super().__init__(data_preprocessor)
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 3, 4), nn.BatchNorm2d(4))
        self.decoder = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 4))
        self.bbox_head = nn.Linear(4, 1)

    def forward(self, inputs, data_samples, mode):
        features = self.encoder(inputs).mean((2, 3))
        counts = self.bbox_head(self.decoder(features))[:, 0]
        if mode == "loss":
            wanted = torch.tensor([len(s.gt_instances) for s in data_samples])
            return {"loss_count": (counts - wanted).square().mean()}
        for sample in data_samples:
            sample.pred_instances = InstanceData(
                bboxes=torch.tensor([[1.0, 1, 20, 20]]),
                scores=torch.tensor([0.5]),
                labels=torch.tensor([0]),
            )
        return data_samples


class Kill(Hook):
    """Ends a run after an iteration, as little prepared as by SIGKILL."""

    priority = "LOWEST"

    def __init__(self, iteration):
        self.iteration = iteration

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.iter + 1 == self.iteration:
            raise KeyboardInterrupt


@pytest.fixture
def run_config(repository, digits_root, tmp_path, monkeypatch):
    """Config of two epochs of four iterations, with all that draws random numbers."""
    monkeypatch.setenv("DIGITS_ROOT", str(digits_root))
    # What takes a runner longest, and nothing of it is looked at.
    monkeypatch.setattr(Config, "pretty_text", "")
    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)
    name = "lite-dino_h3l1-2p1x3_r18_1xb4-3e_digits.py"
    whole = read_config(str(repository / "configs" / "lite_detr" / name))
    cfg = Config({name: whole[name] for name in SETTINGS})
    cfg.model = {
        "type": "TinyDetector",
        "data_preprocessor": whole.model.data_preprocessor,
    }
    cfg.merge_from_dict(
        {
            "work_dir": str(tmp_path),
            "log_level": "WARNING",
            "train_cfg.max_epochs": 2,
            "train_cfg.val_interval": 1,
            "train_dataloader.batch_size": 2,
            "default_hooks.logger.interval": 1,
        }
    )
    cfg.param_scheduler = [
        {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 6},
        {"type": "MultiStepLR", "milestones": [1]},
    ]
    for split in ("train", "val"):
        cfg[f"{split}_dataloader"].update(num_workers=0, persistent_workers=False)
        cfg[f"{split}_dataloader"].dataset.serialize_data = False
    cfg.train_dataloader.dataset.pipeline[2:3] = [
        {"type": "RandomFlip", "prob": 0.5},
        {
            "type": "RandomChoiceResize",
            "scales": [(64, 64), (96, 96)],
            "keep_ratio": True,
        },
    ]
    cfg.custom_hooks = [{"type": "EMAHook"}]
    return cfg


@pytest.fixture
def train():
    """Function that trains as tools/train.py does, until the end or a kill."""

    def run(cfg, resume=None, kill_at=None, hooks=(), reliable=True):
        cfg = cfg.copy()
        cfg.experiment_name = f"test{next(_names)}"
        passed_over = [] if resume is None else resume_training(cfg, resume)
        if reliable:
            make_resumable(cfg)
            stop_at_invalid_loss(cfg)
            check_fit(cfg, whole=cfg.get("resume", False))
        runner = Runner.from_cfg(cfg)
        for line in passed_over:
            runner.logger.warning(line)
        for hook in (Kill(kill_at), *hooks):
            runner.register_hook(hook)
        with contextlib.suppress(KeyboardInterrupt):
            runner.train()
        return runner

    return run


@pytest.fixture
def final_state(tmp_path):
    """Function that reads weights, averages and optimizer of a checkpoint."""

    def read(name, folder=tmp_path):
        checkpoint = torch.load(folder / name, weights_only=True)
        moments = checkpoint["optimizer"]["state"]
        return {
            **checkpoint["state_dict"],
            **{f"ema {k}": v for k, v in checkpoint["ema_state_dict"].items()},
            **{f"{i} {k}": v for i, s in moments.items() for k, v in s.items()},
            "rates": torch.tensor(
                [group["lr"] for group in checkpoint["optimizer"]["param_groups"]]
            ),
        }

    return read
