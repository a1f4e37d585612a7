"""A config of any model is given what keeps its runs whole, once."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.model.efficient_conv_bn_eval import turn_on_efficient_conv_bn_eval
from mmengine.runner import EpochBasedTrainLoop

from mmdet_lite.cli import read_config
from mmdet_lite.engine import (
    ResumableEpochLoop,
    StopSignalHook,
    fold_fixed_norms,
    make_resumable,
    stop_at_invalid_loss,
    without_averaging,
)
from mmdet_lite.errors import ConfigError


def test_a_config_is_changed_once():
    cfg = read_config("mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py")
    own = {"type": "CocoDataset", **cfg.train_dataloader.dataset}
    make_resumable(cfg)
    once = Config(cfg.to_dict())
    assert cfg.default_hooks.checkpoint.type == "DurableCheckpointHook"
    assert cfg.train_cfg.type == "ResumableEpochLoop"
    assert cfg.train_dataloader.dataset.dataset == own
    batches = cfg.train_dataloader.batch_sampler.batch_sampler
    assert batches.type == "AspectRatioBatchSampler"
    make_resumable(cfg)
    assert cfg.to_dict() == once.to_dict()


def test_what_is_of_others_stays():
    cfg = read_config("mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py")
    cfg.default_hooks.checkpoint.type = "MyHook"
    cfg.train_cfg.type = "MyLoop"
    cfg.custom_hooks = [{"type": "MyOtherHook"}, {"type": "StopSignalHook"}]
    make_resumable(cfg)
    assert cfg.default_hooks.checkpoint.type == "MyHook"
    assert cfg.train_cfg.type == "MyLoop"
    kinds = [hook["type"] for hook in cfg.custom_hooks]
    assert kinds[:2] == ["MyOtherHook", "StopSignalHook"]
    assert kinds.count("StopSignalHook") == 1


NEW_STYLE = """
from mmengine.config import read_base
from mmengine.dataset import DefaultSampler
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.runner import EpochBasedTrainLoop
from mmdet.models import ResNet

model = dict(type="DINO", backbone=dict(type=ResNet))
train_cfg = dict(type=EpochBasedTrainLoop, max_epochs=2)
default_hooks = dict(checkpoint=dict(type=CheckpointHook, interval=1))
custom_hooks = [dict(type=EMAHook)]
train_dataloader = dict(
    batch_size=2, sampler=dict(type=DefaultSampler), dataset=dict(type="CocoDataset")
)
"""
SCOPED = {
    "model": {"type": "DINO", "backbone": {"type": "mmdet.ResNet"}},
    "train_cfg": {"type": "mmengine.EpochBasedTrainLoop", "max_epochs": 2},
    "default_hooks": {"checkpoint": {"type": "mmengine.CheckpointHook"}},
    "custom_hooks": [{"type": "mmengine.EMAHook"}],
    "train_dataloader": {"dataset": {"type": "CocoDataset"}},
}


@pytest.mark.parametrize("style", ["classes as types", "scopes before types"])
def test_types_are_known_however_they_are_written(tmp_path, style):
    cfg = Config(SCOPED)
    if style == "classes as types":
        (tmp_path / "new_style.py").write_text(NEW_STYLE)
        cfg = read_config(str(tmp_path / "new_style.py"))
    without_averaging(cfg)
    assert cfg.custom_hooks == []
    make_resumable(cfg)
    fold_fixed_norms(cfg)
    assert cfg.default_hooks.checkpoint.type == "DurableCheckpointHook"
    assert cfg.train_cfg.type == "ResumableEpochLoop"
    assert cfg.efficient_conv_bn_eval == ["backbone"]


class ResNet:
    """Not mmdet's."""


@pytest.mark.parametrize(
    "backbone", [ResNet, "mmpretrain.ResNet", "mmpretrain.models.ResNet"]
)
def test_classes_of_other_packages_are_not_taken_for_mmdets(backbone):
    cfg = Config({"model": {"backbone": {"type": backbone}}})
    fold_fixed_norms(cfg)
    assert "efficient_conv_bn_eval" not in cfg


def test_a_new_style_config_trains_and_tells_its_hook_once(run_config, train, tmp_path):
    run_config.train_cfg.type = EpochBasedTrainLoop
    run_config.default_hooks.checkpoint.type = CheckpointHook
    run_config.custom_hooks = [{"type": StopSignalHook}]
    runner = train(run_config, kill_at=5)
    assert isinstance(runner.train_loop, ResumableEpochLoop)
    assert sum(isinstance(hook, StopSignalHook) for hook in runner.hooks) == 1
    assert (tmp_path / "epoch_1.pth").exists()


@pytest.mark.parametrize("hooks", [None, {}, {"timer": {"type": "IterTimerHook"}}])
def test_a_config_that_says_nothing_of_checkpoints_saves_durably(hooks):
    cfg = read_config("mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py")
    cfg.pop("default_hooks")
    if hooks is not None:
        cfg.default_hooks = hooks
    make_resumable(cfg)
    assert cfg.default_hooks.checkpoint.to_dict() == {
        "type": "DurableCheckpointHook",
        "interval": 1,
    }


@pytest.mark.parametrize(
    "setting", [{"runner_type": "FlexibleRunner"}, {"strategy": {"type": "FSDP"}}]
)
def test_a_runner_that_cannot_be_resumed_is_refused(setting):
    cfg = read_config("mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py")
    cfg.merge_from_dict(setting)
    with pytest.raises(ConfigError, match=f"{next(iter(setting))} of the config asks"):
        make_resumable(cfg)


def test_a_hook_that_is_no_dict_is_named():
    cfg = read_config("mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py")
    cfg.custom_hooks = ["EMAHook"]
    with pytest.raises(ConfigError, match="one of them is 'EMAHook'"):
        make_resumable(cfg)


def test_batches_cannot_be_skipped_where_iterations_are_counted():
    cfg = read_config("mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py")
    cfg.train_cfg = {"by_epoch": False, "max_iters": 10}
    make_resumable(cfg)
    assert cfg.train_cfg.type == "ResumableIterLoop"
    stop_at_invalid_loss(cfg)
    with pytest.raises(ConfigError, match=r"type is ResumableIterLoop"):
        stop_at_invalid_loss(cfg, "skip")


@pytest.mark.parametrize("lacking", ["bbox_head", "encoder"])
def test_a_run_starts_from_what_fits_and_says_how_much(
    run_config, train, tmp_path, capfd, lacking
):
    train(run_config, kill_at=5)
    checkpoint = torch.load(tmp_path / "epoch_1.pth")
    for name in list(checkpoint["state_dict"]):
        if name.startswith(lacking):
            del checkpoint["state_dict"][name]
    torch.save(checkpoint, tmp_path / "start.pth")
    run_config.load_from = str(tmp_path / "start.pth")
    run_config.log_level = "INFO"
    run_config.train_cfg.max_epochs = 1
    if lacking == "encoder":
        with pytest.raises(
            ConfigError, match=r"start.pth does.*nothing of the model's"
        ):
            train(run_config)
    else:
        assert train(run_config).iter == 4
        assert "bbox_head 0 of 2, decoder 2 of 2, encoder" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("settings", "lacking"),
    [
        ({}, None),
        ({"save_optimizer": False}, "save_optimizer=False"),
        ({"save_param_scheduler": False}, "save_param_scheduler=False"),
        (
            {"save_optimizer": False, "save_param_scheduler": False},
            "save_optimizer=False and save_param_scheduler=False",
        ),
    ],
    ids=["all", "no optimizer", "no schedules", "neither"],
)
def test_a_training_that_cannot_be_resumed_says_so_at_its_start(
    run_config, train, capfd, settings, lacking
):
    run_config.default_hooks.checkpoint.update(settings)
    train(run_config, kill_at=1)
    said = [line for line in capfd.readouterr().out.splitlines() if "--resume" in line]
    assert len(said) == (lacking is not None)
    assert all(f"DurableCheckpointHook has {lacking}:" in line for line in said)


def test_schedules_that_are_not_there_need_not_be_saved(run_config, train, capfd):
    run_config.default_hooks.checkpoint.save_param_scheduler = False
    run_config.param_scheduler = None
    train(run_config, kill_at=1)
    assert "--resume" not in capfd.readouterr().out


def test_the_fixed_norms_of_a_resnet_are_folded_in_training():
    cfg = read_config("mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py")
    fold_fixed_norms(cfg)
    assert cfg.efficient_conv_bn_eval == ["backbone"]


@pytest.mark.parametrize(
    "setting",
    [
        {"efficient_conv_bn_eval": None},
        {"model.backbone.norm_eval": False},
        {"model.backbone.with_cp": True},
        {"model.backbone.conv_cfg": {"type": "ConvAWS"}},
        {"model.backbone.norm_cfg.type": "SyncBN"},
        {"model.backbone.norm_cfg.track_running_stats": False},
        {"model.backbone.type": "SwinTransformer"},
        {"activation_checkpointing": ["backbone"]},
    ],
)
def test_norms_that_learn_or_cannot_be_followed_stay(setting):
    cfg = read_config("mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py")
    cfg.merge_from_dict(setting)
    fold_fixed_norms(cfg)
    assert cfg.get("efficient_conv_bn_eval") is None


def test_folded_norms_give_the_same_maps_and_gradients():
    cfg = read_config("mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py")
    fold_fixed_norms(cfg)
    torch.manual_seed(0)
    detector = torch.nn.Module()
    detector.backbone = MODELS.build({**cfg.model.backbone, "init_cfg": None}).double()
    for module in detector.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
    detector.train()
    image = torch.randn(1, 3, 64, 96, dtype=torch.float64)

    def maps_and_gradients():
        maps = detector.backbone(image)
        detector.zero_grad()
        sum(map_.square().mean() for map_ in maps).backward()
        parameters = dict(detector.named_parameters())
        return maps, {
            name: parameter.grad
            for name, parameter in parameters.items()
            if parameter.grad is not None
        }

    expected = maps_and_gradients()
    turn_on_efficient_conv_bn_eval(detector, cfg.efficient_conv_bn_eval)
    actual = maps_and_gradients()
    assert expected[1].keys() == actual[1].keys()
    assert "backbone.layer4.2.conv3.weight" in actual[1]
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)
