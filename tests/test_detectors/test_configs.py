"""Every config of the repository builds what its name says."""

import re

import pytest
import torch
from mmdet.models.backbones import SwinTransformer
from mmdet.models.layers import DeformableDetrTransformerEncoder
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from repository_root import REPOSITORY

from mmdet_lite.backbones import EfficientNetLite
from mmdet_lite.layers import KeyAwareDeformableAttention

CONFIGS = sorted((REPOSITORY / "configs" / "lite_detr").glob("*.py"))
COCO_CONFIGS = [path for path in CONFIGS if path.stem.endswith("_coco")]
H_DETR_CONFIGS = [path for path in COCO_CONFIGS if "h-detr_" in path.stem]


def build(path):
    cfg = Config.fromfile(path)
    # Pretrained weights would be downloaded; their absence changes no shape.
    cfg.model.backbone.init_cfg = None
    return cfg, MODELS.build(cfg.model)


def test_there_are_configs():
    assert CONFIGS


def test_bases_stand_under_the_models():
    """A model's config may change without its bases, and those of others, changing."""
    named = [
        (path, base)
        for path in CONFIGS[0].parent.glob("_base_/*.py")
        for base in re.findall(
            r"""^_base_ = ["'](?!mmdet::)(.+)["']$""", path.read_text(), re.M
        )
    ]
    assert named
    for path, base in named:
        assert (path.parent / base).resolve().parent == path.parent


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_builds_what_its_name_says(path):
    cfg, model = build(path)
    variant = re.search(r"_h(\d)l(\d)-(\d)p1x(\d)(-plain)?(-nofusion)?_", path.stem)
    assert path.stem.startswith("lite-") == (variant is not None)
    if variant:
        high, low, updates, blocks = map(int, variant.groups()[:4])
        assert model.encoder.num_high_levels == high
        assert high + low == model.num_feature_levels
        assert model.encoder.layer_kinds == ("H" * (updates - 1) + "F") * blocks
        for layers, attention in (
            (model.encoder.layers, "self_attn"),
            (model.decoder.layers, "cross_attn"),
        ):
            for layer in layers:
                key_aware = isinstance(
                    getattr(layer, attention), KeyAwareDeformableAttention
                )
                assert key_aware == (variant[5] is None)
        assert model.encoder.iterative_fusion == (variant[6] is None)
    else:
        assert type(model.encoder) is DeformableDetrTransformerEncoder
        assert not any(
            isinstance(module, KeyAwareDeformableAttention)
            for module in model.modules()
        )
        levels = re.match(r"dino-(\d)scale_", path.stem)
        assert model.num_feature_levels == (int(levels[1]) if levels else 4)
    backbone = re.search(r"_(r\d+|swin-t|effnet-lite0)_", path.stem).group(1)
    if backbone == "swin-t":
        assert isinstance(model.backbone, SwinTransformer)
    elif backbone == "effnet-lite0":
        assert isinstance(model.backbone, EfficientNetLite)
    else:
        assert model.backbone.depth == int(backbone[1:])
    num_gpus, batch, epochs = map(
        int, re.search(r"_(\d+)xb(\d+)-(\d+)e_", path.stem).groups()
    )
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.auto_scale_lr.base_batch_size == num_gpus * batch
    assert cfg.train_cfg.max_epochs == epochs
    # A schedule that outlives the training would never lower the learning rate.
    assert cfg.param_scheduler[-1].end == epochs
    assert cfg.default_scope == "mmdet"


@pytest.mark.parametrize("path", COCO_CONFIGS, ids=lambda path: path.stem)
def test_a_config_for_coco_follows_the_recipe_of_the_paper(path):
    cfg = Config.fromfile(path)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr) == ("AdamW", 1e-4)
    assert optimizer.weight_decay == 1e-4
    assert cfg.optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult == 0.1
    assert cfg.optim_wrapper.clip_grad.max_norm == 0.1
    assert cfg.auto_scale_lr.base_batch_size == 16
    steps = {12: [11], 36: [30], 50: [40]}
    assert cfg.param_scheduler[-1].milestones == steps[cfg.train_cfg.max_epochs]
    if "dino" in path.stem:
        assert cfg.model.num_queries == 900
        noise = 0.4 if "swin-t" in path.stem else 1.0
        assert cfg.model.dn_cfg.box_noise_scale == noise
        assert cfg.model.dn_cfg.group_cfg.num_dn_queries == 100


@pytest.mark.parametrize("path", H_DETR_CONFIGS, ids=lambda path: path.stem)
def test_h_detr_is_trained_by_the_recipe_of_the_paper(path):
    cfg, model = build(path)
    assert (model.num_one2one_queries, model.num_one2many_queries) == (300, 1500)
    assert (model.k_one2many, model.lambda_one2many) == (6, 1.0)
    assert cfg.param_scheduler[-1].milestones == [30]
    assert cfg.optim_wrapper.clip_grad.max_norm == 0.1
    for part in (model.encoder, model.decoder):
        for module in part.modules():
            if isinstance(module, torch.nn.Dropout):
                assert module.p == 0
    for layer in model.encoder.layers:
        assert layer.ffn.feedforward_channels == 2048
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    names = {parameter: name for name, parameter in model.named_parameters()}
    for group in optimizer.param_groups:
        (parameter,) = group["params"]
        name = names[parameter]
        slow = name.startswith("backbone.") or "sampling_offsets" in name
        assert group["lr"] == pytest.approx(1e-5 if slow else 1e-4), name
        swin_norm = "swin-t" in path.stem and re.match(
            r"backbone\..*(norm\d?\.(weight|bias)|position_bias_table)$", name
        )
        assert group["weight_decay"] == (0 if swin_norm else 1e-4), name


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_importing_a_config_registers_the_package(path):
    assert Config.fromfile(path).custom_imports == {
        "imports": ["mmdet_lite"],
        "allow_failed_imports": False,
    }
