"""Official weights become mmdet's and come back, bit by bit, or are refused by name."""

import json
import os
from functools import cache

import pytest
import torch
from official_model import OfficialLiteDINO, with_random_weights

from mmdet_lite.checkpoint.official.conversion import (
    COCO_CATEGORY_IDS,
    ConversionError,
    convert_official,
    to_official,
)
from mmdet_lite.errors import ConfigError

VARIANTS = {
    "h3l1_2p1x3": {},
    "h2l2_2p1x3": {"num_high": 2},
    "h3l1_6p1x1": {"kinds": "HHHHHF"},
    "h3l1_3p1x2": {"kinds": "HHFHHF"},
    "h3l1_2p1x3_plain": {"aware": (False, False)},
    "key-aware_decoder_only": {"aware": (False, True)},
    "five_classes": {"classes": 5},
    "other_sizes": {"layers": 3, "queries": 7, "hidden": 32},
}


@cache
def model_of(variant):
    return with_random_weights(OfficialLiteDINO(**VARIANTS[variant]))


def weights_of(variant):
    """Weights of a small official model; a new dict of the same tensors."""
    return dict(model_of(variant).state_dict())


@pytest.fixture
def official():
    return weights_of("h3l1_2p1x3")


def assert_same_bits(actual, expected):
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        assert actual[name].dtype == tensor.dtype, name
        assert torch.equal(actual[name], tensor), name


@pytest.mark.parametrize("keep_all_classes", [False, True])
@pytest.mark.parametrize("variant", [name for name in VARIANTS if "five" not in name])
def test_a_round_trip_returns_every_bit(variant, keep_all_classes):
    weights = weights_of(variant)
    there = convert_official(weights, keep_all_classes=keep_all_classes)
    back = to_official(
        there.state_dict, keep_all_classes=keep_all_classes, leftovers=there.leftovers
    )
    assert_same_bits(back.state_dict, weights)
    assert back.invented == {}
    # Everything has been somewhere.
    assert back.leftovers.keys() == there.leftovers.keys()
    whole = {name for name in there.dropped if not name.endswith("]")}
    assert whole | set(there.mapped.values()) == weights.keys()
    assert whole.isdisjoint(there.mapped.values())


@pytest.mark.skipif(
    "OFFICIAL_STATE_DICT" not in os.environ,
    reason="OFFICIAL_STATE_DICT names no list of the official names and shapes",
)
def test_a_round_trip_of_the_listed_names():
    with open(os.environ["OFFICIAL_STATE_DICT"]) as file:
        listed = json.load(file)
    for variant in listed["variants"].values():
        shapes = {**listed["base"], **variant["add"]}
        for name in set(variant["remove"]) - set(variant["add"]):
            del shapes[name]
        weights = {name: torch.randn(shape) for name, shape in shapes.items()}
        for copies in listed["aliases"]:
            weights.update(dict.fromkeys(copies, weights[copies[0]]))
        assert len(weights) == variant["entries"]
        there = convert_official(weights)
        back = to_official(there.state_dict, leftovers=there.leftovers)
        assert_same_bits(back.state_dict, weights)


def test_the_full_size_has_the_known_number_of_names():
    """644 entries of which 596 reach mmdet (48 are copies of the heads)."""
    with torch.device("meta"):
        model = OfficialLiteDINO(layers=6, queries=900, hidden=2048, depth=50)
    weights = {
        name: torch.zeros(()).expand(tensor.shape)
        for name, tensor in model.state_dict().items()
    }
    assert len(weights) == 644
    converted = convert_official(weights)
    assert len(converted.state_dict) == 596
    assert len(converted.dropped) - len(converted.leftovers) == 48


@pytest.mark.parametrize(
    ("official_part", "mmdet_part"),
    [
        ("backbone.0.body", "backbone"),
        ("input_proj", "neck"),
        ("transformer.encoder", "encoder"),
        ("transformer.encoder.layers.3", "encoder.layers.3"),
        ("transformer.encoder.layers.0.self_attn", "encoder.layers.0.self_attn"),
        ("transformer.decoder", "decoder"),
        ("transformer.decoder.layers.1", "decoder.layers.1"),
        ("transformer.decoder.layers.1.self_attn", "decoder.layers.1.self_attn.attn"),
        ("transformer.decoder.layers.0.cross_attn", "decoder.layers.0.cross_attn"),
    ],
)
@pytest.mark.parametrize("variant", ["h3l1_2p1x3", "h3l1_2p1x3_plain"])
def test_a_module_converts_by_itself(variant, official_part, mmdet_part):
    model = model_of(variant)
    whole = convert_official(model.state_dict()).state_dict
    weights = model.get_submodule(official_part).state_dict()
    there = convert_official(weights, prefix=official_part)
    below = {
        name.removeprefix(f"{mmdet_part}."): tensor
        for name, tensor in whole.items()
        if name.startswith(f"{mmdet_part}.")
    }
    assert_same_bits(there.state_dict, below)
    back = to_official(
        there.state_dict, prefix=official_part, leftovers=there.leftovers
    )
    assert_same_bits(back.state_dict, weights)


def test_a_module_that_does_not_convert_by_itself_is_named():
    with pytest.raises(ConfigError, match=r"'transformer\.neck'.*transformer\.encoder"):
        convert_official({}, prefix="transformer.neck")


def test_a_decoder_without_the_copies_of_the_heads_converts(official):
    part = "transformer.decoder."
    weights = {
        name.removeprefix(part): tensor
        for name, tensor in official.items()
        if name.startswith(part) and "_embed." not in name
    }
    there = convert_official(weights, prefix=part)
    assert there.leftovers == {}
    assert_same_bits(to_official(there.state_dict, prefix=part).state_dict, weights)


def test_the_wrapper_of_averaged_weights_is_left_out(official):
    wrapped = {f"module.{name}": tensor for name, tensor in official.items()}
    assert_same_bits(
        convert_official(wrapped).state_dict, convert_official(official).state_dict
    )


def test_classes_are_rows_of_their_category(official):
    """Spot checks of category ids: person, stop sign, tv, toothbrush."""
    assert len(set(COCO_CATEGORY_IDS)) == 80
    converted = convert_official(official).state_dict
    for label, category in ((0, 1), (11, 13), (62, 72), (79, 90)):
        for ours, theirs in (
            ("bbox_head.cls_branches.0.weight", "class_embed.0.weight"),
            ("bbox_head.cls_branches.1.bias", "class_embed.1.bias"),
            ("bbox_head.cls_branches.2.bias", "transformer.enc_out_class_embed.bias"),
            ("dn_query_generator.label_embedding.weight", "label_enc.weight"),
        ):
            assert torch.equal(converted[ours][label], official[theirs][category])


def test_any_number_of_classes_can_be_kept():
    weights = weights_of("five_classes")
    there = convert_official(weights, keep_all_classes=True)
    shapes = {name: len(tensor) for name, tensor in there.state_dict.items()}
    assert shapes["bbox_head.cls_branches.0.bias"] == 5
    assert shapes["dn_query_generator.label_embedding.weight"] == 5
    back = to_official(
        there.state_dict, keep_all_classes=True, leftovers=there.leftovers
    )
    assert_same_bits(back.state_dict, weights)
    with pytest.raises(ConversionError, match="has 5 rows, but 91 are expected"):
        convert_official(weights)


def test_what_was_not_kept_is_invented_harmlessly(official):
    there = convert_official(official)
    back = to_official(there.state_dict)
    assert back.state_dict.keys() == official.keys()
    unused = sorted(set(range(91)) - set(COCO_CATEGORY_IDS))
    assert len(unused) == 11
    for name in ("class_embed.1.bias", "transformer.decoder.class_embed.0.bias"):
        assert (back.state_dict[name][unused] <= -50).all()
    assert not back.state_dict["transformer.enc_out_class_embed.weight"][unused].any()
    assert back.state_dict["label_enc.weight"].shape == (92, 256)
    assert {name.split("[")[0] for name in back.invented} == set(there.leftovers)
    assert all("[0, 12, 26" in name for name in back.invented)
    assert_same_bits(convert_official(back.state_dict).state_dict, there.state_dict)


def test_projections_that_plain_attention_never_uses_are_invented():
    weights = weights_of("h3l1_2p1x3_plain")
    back = to_official(convert_official(weights).state_dict)
    assert back.state_dict.keys() == weights.keys()
    name = "transformer.decoder.layers.1.cross_attn.query_proj.weight"
    assert name in back.invented
    assert back.state_dict[name].shape == weights[name].shape


def test_a_neck_without_bias_gets_zeros(official):
    weights = convert_official(official).state_dict
    del weights["neck.convs.1.conv.bias"]
    back = to_official(weights)
    assert not back.state_dict["input_proj.1.0.bias"].any()
    assert "no bias" in back.invented["input_proj.1.0.bias"]


def test_counters_of_batches_are_no_official_weights(official):
    weights = convert_official(official).state_dict
    weights["backbone.bn1.num_batches_tracked"] = torch.tensor(3)
    back = to_official(weights)
    assert back.state_dict.keys() == official.keys()
    assert back.dropped.keys() == {"backbone.bn1.num_batches_tracked"}
    counted = {**official, "backbone.0.body.bn1.num_batches_tracked": torch.tensor(3)}
    there = convert_official(counted)
    again = to_official(there.state_dict, leftovers=there.leftovers)
    assert_same_bits(again.state_dict, counted)


def test_copies_share_memory_as_in_the_official_model(official):
    back = to_official(convert_official(official).state_dict).state_dict
    copy = back["transformer.decoder.bbox_embed.1.layers.0.weight"]
    assert copy is back["bbox_embed.1.layers.0.weight"]


def test_unknown_names_are_refused(official):
    official["transformer.encoder.layers.0.norm7.weight"] = torch.zeros(1)
    with pytest.raises(ConversionError, match=r"1 unknown names: .*0\.norm7\.weight"):
        convert_official(official)


@pytest.mark.parametrize(
    "name",
    [
        "transformer.level_embed",
        "transformer.encoder.layers.1.norm22.bias",
        "transformer.encoder.layers.4.self_attn.query_proj.bias",
        "transformer.decoder.class_embed.1.weight",
        "bbox_embed.1.layers.2.bias",
        "backbone.0.body.layer3.1.bn2.running_var",
        "input_proj.3.1.weight",
        "label_enc.weight",
    ],
)
def test_missing_names_are_refused(official, name):
    del official[name]
    with pytest.raises(ConversionError, match=f"1 missing names: {name}"):
        convert_official(official)


@pytest.mark.parametrize("part", ["backbone", "transformer.encoder", "class_embed"])
def test_a_part_that_is_missing_altogether_is_refused(official, part):
    weights = {
        name: tensor for name, tensor in official.items() if not name.startswith(part)
    }
    with pytest.raises(ConversionError, match=rf"missing names: .*{part}"):
        convert_official(weights)


def test_weights_of_mmdet_are_no_official_weights(official):
    with pytest.raises(ConversionError, match=r"unknown names: backbone\.bn1\.bias"):
        convert_official(convert_official(official).state_dict)


def test_another_backbone_is_refused(official):
    for name in list(official):
        if name.startswith("backbone.0.body.layer2.1."):
            del official[name]
    with pytest.raises(ConfigError, match=r"no ResNet.*\(2, 1, 2, 2\) blocks"):
        convert_official(official)


def test_copies_of_a_head_that_differ_are_refused(official):
    name = "transformer.decoder.bbox_embed.1.layers.0.bias"
    official[name] = official[name] + 1
    with pytest.raises(
        ConversionError, match=rf"{name} differs from bbox_embed\.1\.layers\.0\.bias"
    ):
        convert_official(official)


@pytest.mark.parametrize("name", ["cls_branches.1.bias", "reg_branches.1.2.weight"])
def test_heads_that_drifted_apart_have_no_official_form(official, name):
    weights = convert_official(official).state_dict
    name = f"bbox_head.{name}"
    weights[name] = weights[name] + 1
    with pytest.raises(ConversionError, match=rf"{name} differs.*one head"):
        to_official(weights)


@pytest.mark.parametrize(
    "name", ["encoder.layers.1.low_norm.bias", "neck.convs.1.conv.weight"]
)
def test_missing_and_unknown_names_of_mmdet_are_refused(official, name):
    weights = convert_official(official).state_dict
    tensor = weights.pop(name)
    with pytest.raises(ConversionError, match=f"1 missing names: {name}"):
        to_official(weights)
    weights |= {name: tensor, "encoder.layers.0.self_attn.key_proj.bias": tensor}
    with pytest.raises(ConversionError, match=r"1 unknown names: .*key_proj\.bias"):
        to_official(weights)


def test_a_wrong_number_of_class_rows_is_refused(official):
    kept = convert_official(official, keep_all_classes=True)
    with pytest.raises(ConversionError, match="91 rows, but 80 are expected"):
        to_official(kept.state_dict)
    short = {**official, "label_enc.weight": official["label_enc.weight"][:-1]}
    with pytest.raises(ConversionError, match=r"label_enc\.weight has 91 rows, but 92"):
        convert_official(short)


def test_leftovers_of_another_model_are_refused(official):
    there = convert_official(official)
    kept = convert_official(official, keep_all_classes=True)
    with pytest.raises(ConversionError, match=r"label_enc\.weight.*keep_all_classes"):
        to_official(there.state_dict, leftovers=kept.leftovers)
    with pytest.raises(ConversionError, match=r"not of this model: class_embed\.7"):
        to_official(there.state_dict, leftovers={"class_embed.7.bias": torch.ones(11)})
