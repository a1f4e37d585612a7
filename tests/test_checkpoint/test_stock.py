"""A stock model's weights become the start of a Lite model, name by name."""

import pytest
import torch
from mmdet.registry import MODELS

from mmdet_lite.checkpoint.stock import (
    initialise_file_from_stock,
    initialise_from_stock,
)
from mmdet_lite.errors import ConfigError
from mmdet_lite.layers.query_position import keep_official_positions

DEFORMABLE = "mmdet::deformable_detr/deformable-detr"
STOCKS = {
    "dino": ("mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py", "LiteDINO"),
    "deformable": (f"{DEFORMABLE}_r50_16xb2-50e_coco.py", "LiteDeformableDETR"),
    "refine": (f"{DEFORMABLE}-refine_r50_16xb2-50e_coco.py", "LiteDeformableDETR"),
    "two-stage": (
        f"{DEFORMABLE}-refine-twostage_r50_16xb2-50e_coco.py",
        "LiteDeformableDETR",
    ),
}
LITE_DINO = "lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py"


def build_random(cfg):
    """Some parameters are memory as it was found before they are initialised."""
    model = MODELS.build(cfg.model)
    # What the zoo's DINO has, and a DINO that onedl-mmdetection builds has not.
    keep_official_positions(model.decoder)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


@pytest.fixture(scope="module")
def stock_dino(small_config):
    torch.manual_seed(1)
    return build_random(small_config(STOCKS["dino"][0])).state_dict()


@pytest.mark.parametrize(("config", "lite_type"), STOCKS.values(), ids=STOCKS)
def test_everything_but_what_lite_detr_changes_is_kept(small_config, config, lite_type):
    stock = build_random(small_config(config))
    cfg = small_config(config)
    cfg.model.type = lite_type
    model = build_random(cfg)
    start = initialise_from_stock(model, stock.state_dict())

    assert start.state_dict.keys() == model.state_dict().keys()
    assert set(start.kept).isdisjoint(start.new)
    assert {*start.kept, *start.new} == start.state_dict.keys()
    for name in start.kept:
        assert torch.equal(start.state_dict[name], stock.state_dict()[name])
    for name in start.new:
        assert torch.equal(start.state_dict[name], model.state_dict()[name])
        assert start.new[name] == "not in the checkpoint"
    # Small FFN and norm of three F layers; query_proj of six and two attentions.
    assert len(start.new) == 3 * 6 + (6 + 2) * 2
    assert all(
        "low_ffn" in name or "low_norm" in name or "query_proj" in name
        for name in start.new
    )
    assert len(start.dropped) == (6 + 2) * 2
    assert all("attention_weights" in name for name in start.dropped)
    # The check that refuses weights of plain attention lets them pass.
    model.load_state_dict(start.state_dict)


def test_predicted_logits_start_with_the_stock_attention(small_config, stock_dino):
    cfg = small_config(LITE_DINO)
    cfg.model.encoder.layer_cfg.self_attn_cfg.predict_logits = True
    cfg.model.decoder.layer_cfg.cross_attn_cfg.predict_logits = True
    model = MODELS.build(cfg.model)
    model.init_weights()
    start = initialise_from_stock(model, stock_dino)
    assert not start.dropped
    predictions = [name for name in start.kept if "attention_weights.weight" in name]
    assert len(predictions) == 6 + 2
    for name in predictions:
        query = name.replace("attention_weights", "query_proj")
        assert query in start.new
        assert torch.count_nonzero(start.state_dict[query]) == 0
    model.load_state_dict(start.state_dict)


def test_shapes_that_differ_are_named(small_config, stock_dino):
    """Other classes, and the neck's bias that stock DINO does not have."""
    cfg = small_config(LITE_DINO)
    cfg.model.bbox_head.num_classes = 3
    model = MODELS.build(cfg.model)
    start = initialise_from_stock(model, stock_dino)
    assert start.new["bbox_head.cls_branches.0.bias"] == (
        "shape (3,), in the checkpoint (80,)"
    )
    assert "neck.convs.0.conv.bias" in start.new
    model.load_state_dict(start.state_dict)


def test_names_are_those_that_a_wrapper_left(small_config, stock_dino):
    model = MODELS.build(small_config(LITE_DINO).model)
    wrapped = {f"module.{name}": tensor for name, tensor in stock_dino.items()}
    start, expected = (
        initialise_from_stock(model, stock) for stock in (wrapped, stock_dino)
    )
    assert start.kept == expected.kept
    assert start.dropped == expected.dropped
    assert "attention_weights" in start.dropped[0]


def test_weights_of_another_model_are_refused(small_config):
    model = MODELS.build(small_config(LITE_DINO).model)
    with pytest.raises(ConfigError, match=r"fits the model's encoder; it has fc\.bias"):
        initialise_from_stock(model, {"fc.bias": torch.zeros(1)})


def test_pretrained_weights_are_not_fetched_for_a_file(
    small_config, stock_dino, tmp_path
):
    source, target = tmp_path / "stock.pth", tmp_path / "start.pth"
    torch.save({"state_dict": stock_dino, "meta": {}}, source)
    cfg = small_config(LITE_DINO).model
    pretrained = [{"type": "Pretrained", "checkpoint": "nowhere.pth"}]
    cfg.backbone.init_cfg = pretrained
    initialise_file_from_stock(source, cfg, target)
    assert cfg.backbone.init_cfg == pretrained


def test_a_file_to_start_from(small_config, stock_dino, tmp_path):
    source, target = tmp_path / "stock.pth", tmp_path / "new" / "start.pth"
    torch.save({"state_dict": stock_dino, "meta": {}}, source)
    start = initialise_file_from_stock(source, small_config(LITE_DINO).model, target)
    loaded = torch.load(target, weights_only=True)["state_dict"]
    assert loaded.keys() == start.state_dict.keys()
    name = "decoder.layers.1.ffn.layers.0.0.weight"
    assert torch.equal(loaded[name], stock_dino[name])
    # New weights are initialised as training from scratch does.
    attention = "encoder.layers.0.self_attn"
    small_ffn = loaded["encoder.layers.1.low_ffn.layers.0.0.weight"]
    assert small_ffn.abs().max() > 0.1  # Xavier; as built, a linear layer has 0.0625.
    assert not loaded[f"{attention}.query_proj.bias"].any()
    assert not loaded["neck.convs.0.conv.bias"].any()
    again = initialise_file_from_stock(source, small_config(LITE_DINO).model, target)
    for name in start.new:
        assert torch.equal(again.state_dict[name], loaded[name])
    other = initialise_file_from_stock(
        source, small_config(LITE_DINO).model, target, seed=1
    )
    assert not torch.equal(
        other.state_dict[f"{attention}.query_proj.weight"],
        loaded[f"{attention}.query_proj.weight"],
    )
