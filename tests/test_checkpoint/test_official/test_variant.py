"""Weights tell the variant that they are of, and the configs that build it."""

from dataclasses import replace

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from official_model import OfficialLiteDINO

from mmdet_lite.checkpoint.official.conversion import convert_official
from mmdet_lite.checkpoint.official.variant import fitting_configs, recognise_variant

BASE = "lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py"


def variant_of(num_high_levels=None, **options):
    weights = convert_official(OfficialLiteDINO(**options).state_dict()).state_dict
    return recognise_variant(weights, num_high_levels)


def test_the_variant_is_read_off_converted_weights():
    base = variant_of(num_high_levels=3)
    assert base.blocks == (2, 3)
    assert base.num_samples == 8 * 4
    assert str(base) == (
        "Lite-DINO H3L1-(2+1)x3, ResNet-18, 4 levels x 32 samples (heads x points), "
        "key-aware encoder, 2 key-aware decoder layers, 20 queries, 80 classes, "
        "256 channels"
    )
    assert variant_of(3, kinds="HHHHHF", layers=3, queries=7) == replace(
        base, layer_kinds="HHHHHF", num_decoder_layers=3, num_queries=7
    )
    assert variant_of(3, aware=(False, True)) == replace(base, key_aware_encoder=False)
    assert variant_of(3, aware=(True, False)) == replace(base, key_aware_decoder=False)
    # High levels cannot be seen.
    assert variant_of(num_high=2) == replace(base, num_high_levels=None)
    assert "H?L?" in str(variant_of(num_high=2))


@pytest.mark.parametrize(
    ("kinds", "blocks"),
    [("HHFHHF", (3, 2)), ("HHHHHH", None), ("HFHHFH", None), ("FFFF", (1, 4))],
)
def test_layers_are_blocks_only_where_each_ends_in_an_f_layer(kinds, blocks):
    assert variant_of(kinds=kinds).blocks == blocks


@pytest.fixture(scope="module")
def configs(repository):
    """Three variants, and a config of another model."""
    names = [
        BASE,
        BASE.replace("2p1x3", "6p1x1"),
        BASE.replace("h3l1", "h2l2"),
        "lite-deformable-detr_h3l1-2p1x3_r50_8xb2-50e_coco.py",
    ]
    return [repository / "configs" / "lite_detr" / name for name in names]


def test_weights_fit_the_config_that_builds_them(configs, tmp_path):
    base, one_block, two_high_levels, _ = configs
    with torch.device("meta"):
        model = MODELS.build(Config.fromfile(one_block).model)
    weights = model.state_dict()
    assert fitting_configs(weights, configs, num_high_levels=3) == [one_block]
    assert fitting_configs(weights, configs, num_high_levels=2) == []
    written_out = tmp_path / "written_out.py"
    cfg = Config.fromfile(one_block)
    cfg.model.type = "mmdet.LiteDINO"
    cfg.model.backbone.type = "mmdet.ResNet"
    cfg.dump(written_out)
    assert fitting_configs(weights, [written_out]) == [written_out]
    weights["level_embed"] = weights["level_embed"][:3]
    assert fitting_configs(weights, configs) == []

    cfg = Config.fromfile(base)
    cfg.model.bbox_head.num_classes = 91
    with torch.device("meta"):
        weights = MODELS.build(cfg.model).state_dict()
    assert fitting_configs(weights, configs, num_high_levels=2) == [two_high_levels]
    # The weights do not tell which levels are high.
    assert fitting_configs(weights, configs) == [base, two_high_levels]
