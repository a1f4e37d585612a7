"""Arguments of encoder and attention build and run, or are refused by their name."""

import random

import pytest
import torch
from encoder_inputs import EMBED_DIMS, encoder_inputs, layer_cfg
from mmcv.ops import MultiScaleDeformableAttention
from mmdet.registry import MODELS

from mmdet_lite.errors import ConfigError
from mmdet_lite.layers import KeyAwareDeformableAttention
from mmdet_lite.layers.arguments import attention_class
from mmdet_lite.layers.interleaved_encoder import build_deformable_attention

NO_COUNTS = (0, -1, "3", 2.0, True, None, [2], float("nan"))
KINDS = ("KeyAwareDeformableAttention", "MultiScaleDeformableAttention")
# What is right comes first and most often, that many combinations build.
ATTENTION = {
    "embed_dims": (EMBED_DIMS, 24, *NO_COUNTS),
    "num_heads": (4, 1, 5, *NO_COUNTS),
    "num_levels": (4, 2, *NO_COUNTS),
    "num_points": (2, 1, *NO_COUNTS),
    "im2col_step": (64, 1, *NO_COUNTS),
    "dropout": (0.0, 1, 2, -0.1, "0.1", None, float("nan"), True),
    "value_proj_ratio": (1.0, 0.5, 0, 0.01, 0.3, "1", None, float("inf"), True),
    "batch_first": (True, False, "yes", 1, None),
    "proj_key": (False, True, 1, "no", None),
    "uniform_start": (False, True, 0, None),
    "predict_logits": (False, True, 1, "no"),
    "backend": ("auto", "reference", "cuda", None, 3),
    "num_point": (3,),
}
ENCODER = {
    "num_layers": (None, 6, 4, *NO_COUNTS[:5]),
    "num_high_levels": (3, 1, 4, *NO_COUNTS),
    "num_high_updates": (2, 1, *NO_COUNTS),
    "num_blocks": (3, 2, *NO_COUNTS),
    "low_ffn_channels": (None, 16, *NO_COUNTS[:5]),
    "iterative_fusion": (True, False, 1, "no", None),
    "num_cp": (-1, 2, -2, "1", 1.0, True, None),
}
FFN = {
    "embed_dims": (EMBED_DIMS, 24),
    "feedforward_channels": (16, *NO_COUNTS),
    "num_fcs": (2, 3, 1, "2", True),
    "ffn_drop": (0.0, 0.5, 2, "0", None),
    "feedforward_chanels": (16,),
}


def draw(rng, choices, num_changes):
    """The first of every choice, of some another, each change maybe hostile."""
    given = {name: values[0] for name, values in choices.items() if len(values) > 1}
    for name in rng.sample(list(choices), num_changes):
        given[name] = rng.choice(choices[name])
    return given


def attempt(build, **cfg):
    """What is built and None, or None and why not."""
    try:
        return build(cfg), None
    except ConfigError as error:
        return None, error


def refused_by_name(error, choices):
    return any(name in str(error) for name in choices)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, KeyAwareDeformableAttention),
        ({"type": "mmdet.KeyAwareDeformableAttention"}, KeyAwareDeformableAttention),
        ({"type": KeyAwareDeformableAttention}, KeyAwareDeformableAttention),
        ({"type": KINDS[1]}, MultiScaleDeformableAttention),
    ],
)
def test_attention_is_found_however_it_is_named(given, expected):
    assert attention_class(given) is expected
    assert type(build_deformable_attention(given)) is expected


@pytest.mark.parametrize("kind", KINDS)
def test_attention_runs_or_is_refused_by_name(kind):
    rng = random.Random(0)
    choices = dict(ATTENTION)
    if kind == KINDS[1]:
        for name in ("proj_key", "uniform_start", "predict_logits", "backend"):
            del choices[name]
    built = 0
    for _ in range(300):
        given = draw(rng, choices, rng.randint(0, 2))
        attention, error = attempt(build_deformable_attention, type=kind, **given)
        if error is not None:
            assert refused_by_name(error, choices), (given, error)
            continue
        built += 1
        inputs = encoder_inputs(batch=1)
        levels = attention.num_levels
        shapes = inputs["spatial_shapes"][-levels:]
        num_tokens = int(shapes.prod(-1).sum())
        width = attention.embed_dims
        tokens = torch.randn(1, num_tokens, width)
        query = torch.randn(1, 7, width)
        if not attention.batch_first:
            tokens, query = tokens.transpose(0, 1), query.transpose(0, 1)
        out = attention(
            query=query,
            value=tokens,
            reference_points=torch.rand(1, 7, levels, 2),
            spatial_shapes=shapes,
            level_start_index=torch.cat(
                [torch.zeros(1).long(), shapes.prod(-1).cumsum(0)[:-1]]
            ),
        )
        assert out.shape == query.shape
        assert out.isfinite().all()
    assert 50 < built < 250


def test_encoder_runs_or_is_refused_by_name():
    rng = random.Random(0)
    built = 0
    for number in range(200):
        cfg = layer_cfg(KINDS[number % 2])
        given = {}
        changed = rng.choice(["attention", "ffn", "encoder", "encoder", "none"])
        if changed == "attention":
            choices = {k: v for k, v in ATTENTION.items() if k in cfg["self_attn_cfg"]}
            choices["batch_first"] = ATTENTION["batch_first"]
            cfg["self_attn_cfg"].update(draw(rng, choices, 1))
        elif changed == "ffn":
            cfg["ffn_cfg"].update(draw(rng, FFN, 1))
        elif changed == "encoder":
            given = draw(rng, ENCODER, rng.randint(1, 2))
        encoder, error = attempt(
            MODELS.build, type="LiteDetrTransformerEncoder", layer_cfg=cfg, **given
        )
        if error is not None:
            assert refused_by_name(error, {**ATTENTION, **ENCODER, **FFN}), error
            continue
        built += 1
        inputs = encoder_inputs(batch=1)
        assert encoder(**inputs).shape == inputs["query"].shape
    assert 40 < built < 180


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (None, "layer_cfg is missing"),
        (3, "layer_cfg must be a dict, but got 3"),
        ({}, "self_attn_cfg is missing"),
        ({"self_attn_cfg": []}, r"self_attn_cfg must be a dict, but got \[\]"),
        ({"self_attn_cfg": {"type": "Nowhere"}}, "no attention .* 'Nowhere'"),
        ({"self_attn_cfg": {}, "fnn_cfg": {}}, "did you mean ffn_cfg?"),
    ],
)
def test_parts_that_are_missing_are_named(layer, message):
    with pytest.raises(ConfigError, match=message):
        MODELS.build({"type": "LiteDetrTransformerEncoder", "layer_cfg": layer})
