"""The interleaved encoder of images and text: who meets whom in which layer."""

from itertools import pairwise

import pytest
import torch
from encoder_inputs import (
    EMBED_DIMS,
    LEVEL_START_INDEX,
    NUM_TOKENS,
    SPATIAL_SHAPES,
    encoder_inputs,
    layer_cfg,
)
from mmdet.models.layers.transformer.grounding_dino_layers import (
    GroundingDinoTransformerEncoder,
)
from mmdet.models.layers.transformer.utils import get_text_sine_pos_embed
from mmengine.config import ConfigDict

from mmdet_lite.layers import LiteGroundingDinoTransformerEncoder

TEXT_DIMS = 256  # The only width of text that mmdet's encoder takes.
LEN_TEXT = 7
NUM_LOW_TOKENS = 48


def text_cfgs(dropout=0.0):
    return {
        "text_layer_cfg": {
            "self_attn_cfg": {
                "num_heads": 2,
                "embed_dims": TEXT_DIMS,
                "attn_drop": 0.0,
            },
            "ffn_cfg": {
                "embed_dims": TEXT_DIMS,
                "feedforward_channels": 32,
                "ffn_drop": 0.0,
            },
        },
        "fusion_layer_cfg": {
            "v_dim": EMBED_DIMS,
            "l_dim": TEXT_DIMS,
            "embed_dim": 32,
            "num_heads": 2,
            "dropout": dropout,
            "init_values": 1.0,
        },
    }


def make_encoder(attention="KeyAwareDeformableAttention", dropout=0.0, **kwargs):
    torch.manual_seed(0)
    encoder = LiteGroundingDinoTransformerEncoder(
        layer_cfg=layer_cfg(attention), **text_cfgs(dropout), **kwargs
    )
    return encoder.eval()


def phrases(*lengths):
    """Mask and places of phrases of the given lengths, one after the other."""
    places = torch.cat([torch.arange(length) for length in lengths])
    phrase = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    return phrase[:, None] == phrase, places


def grounding_inputs(batch=2):
    inputs = encoder_inputs(batch)
    mask, places = phrases(3, 4)
    return {
        **inputs,
        "memory_text": torch.randn(batch, LEN_TEXT, TEXT_DIMS),
        "text_attention_mask": torch.zeros(batch, LEN_TEXT, dtype=torch.bool),
        "text_self_attention_masks": mask.repeat(batch, 1, 1),
        "position_ids": places.repeat(batch, 1),
    }


@pytest.mark.parametrize("num_high_levels", [1, 2, 3])
@pytest.mark.parametrize(("updates", "blocks"), [(6, 1), (3, 2), (2, 3)])
def test_low_tokens_leave_an_h_layer_bit_identical(num_high_levels, updates, blocks):
    encoder = make_encoder(
        num_high_levels=num_high_levels, num_high_updates=updates, num_blocks=blocks
    )
    inputs = grounding_inputs()
    num_low_tokens = int(LEVEL_START_INDEX[-num_high_levels])
    states = [inputs["query"]]
    for layer in encoder.layers:
        layer.register_forward_hook(lambda layer, args, output: states.append(output))
    encoder(**inputs)
    assert len(states) == 1 + len(encoder.layer_kinds)
    for kind, (before, after) in zip(
        encoder.layer_kinds, pairwise(states), strict=True
    ):
        changed = (before != after).any(-1).any(0)
        assert changed[num_low_tokens:].all()
        if kind == "H":
            assert not changed[:num_low_tokens].any()
        else:
            assert changed[:num_low_tokens].all()


@pytest.mark.parametrize(("updates", "kind"), [(2, "H"), (1, "F")])
def test_low_tokens_meet_the_text_in_f_layers_only(updates, kind):
    encoder = make_encoder(num_high_updates=updates, num_blocks=1)
    assert encoder.layer_kinds[0] == kind
    num_visible, texts = [], []

    def record(layer, args, output):
        num_visible.append(args[0].shape[1])
        texts.append(output[1])

    encoder.fusion_layers[0].register_forward_hook(record)
    inputs = grounding_inputs()
    before = encoder(**inputs)
    # The fusion normalises the tokens: a shift of all channels would be lost.
    inputs["query"] = inputs["query"].clone()
    low = inputs["query"][:, :NUM_LOW_TOKENS]
    low += torch.linspace(-1, 1, low.shape[-1])
    after = encoder(**inputs)
    tokens_of = {"H": NUM_TOKENS - NUM_LOW_TOKENS, "F": NUM_TOKENS}
    assert num_visible == [tokens_of[kind]] * 2
    assert texts[0].equal(texts[1]) == (kind == "H")
    # As keys and values they reach the high-level tokens of the H layer all the same.
    assert not torch.allclose(
        before[0][:, NUM_LOW_TOKENS:], after[0][:, NUM_LOW_TOKENS:]
    )


def test_every_layer_updates_the_text():
    encoder = make_encoder()
    inputs = grounding_inputs()
    texts = [inputs["memory_text"]]
    for layer in encoder.text_layers:
        layer.register_forward_hook(lambda layer, args, output: texts.append(output))
    _, memory_text = encoder(**inputs)
    assert len(texts) == 7
    assert memory_text is texts[-1]
    for before, after in pairwise(texts):
        assert (before != after).any(-1).all()


def slow_encode(encoder, maps, positions, text, mask, places):
    """One image without padding, token by token, from the definition."""
    sizes = [tuple(level.shape[:2]) for level in maps]
    tokens = torch.cat([level.flatten(0, 1) for level in maps])
    positions = torch.cat([level.flatten(0, 1) for level in positions])
    levels, centres = [], []
    for level, (height, width) in enumerate(sizes):
        for y in range(height):
            for x in range(width):
                levels.append(level)
                centres.append(((x + 0.5) / width, (y + 0.5) / height))
    centres = torch.tensor(centres).to(tokens)[:, None].expand(-1, 4, 2)
    areas = [height * width for height, width in sizes]
    geometry = {
        "spatial_shapes": torch.tensor(sizes),
        "level_start_index": torch.tensor([sum(areas[:i]) for i in range(4)]),
    }
    text_pos = get_text_sine_pos_embed(
        places[None, :, None], num_pos_feats=TEXT_DIMS, exchange_xy=False
    )
    text_mask = (~mask).expand(2, -1, -1)  # the heads of the text layers
    is_high = [level >= 4 - encoder.num_high_levels for level in levels]
    for index, kind in enumerate(encoder.layer_kinds):
        rows = [row for row, high in enumerate(is_high) if high or kind == "F"]
        fused, text = encoder.fusion_layers[index](tokens[None, rows], text[None])
        tokens = tokens.clone()
        tokens[rows] = fused[0]
        text = encoder.text_layers[index](
            text, query_pos=text_pos, key_padding_mask=None, attn_mask=text_mask
        )[0]
        layer = encoder.layers[index]
        attended = layer.self_attn(
            query=tokens[None, rows],
            value=tokens[None],
            query_pos=positions[None, rows],
            reference_points=centres[None, rows],
            **geometry,
        )[0]
        tokens = tokens.clone()
        for row, token in zip(rows, layer.norms[0](attended), strict=True):
            if is_high[row]:
                tokens[row] = layer.norms[1](layer.ffn(token))
            else:
                tokens[row] = layer.low_norm(layer.low_ffn(token))
    return tokens, text


@pytest.mark.parametrize("num_high_levels", [2, 3])
def test_it_is_the_definition_for_each_image_of_a_padded_batch(num_high_levels):
    """Images and texts of different size, padded with what must not matter."""
    encoder = make_encoder(num_high_levels=num_high_levels).double()
    canvas = SPATIAL_SHAPES.tolist()
    sizes = [canvas, [(4, 6), (2, 3), (1, 2), (1, 1)]]
    lengths = [(3, 2), (2, 1, 4)]
    inputs = grounding_inputs()
    inputs = {
        name: value.double() if torch.is_floating_point(value) else value
        for name, value in inputs.items()
        if value is not None
    }
    inputs["key_padding_mask"] = torch.zeros(2, NUM_TOKENS, dtype=torch.bool)
    expected = []
    for image in range(2):
        maps, positions, masks = [], [], []
        for level, (height, width) in enumerate(canvas):
            start = LEVEL_START_INDEX[level]
            rows = slice(start, start + height * width)
            h, w = sizes[image][level]
            for target, name in ((maps, "query"), (positions, "query_pos")):
                whole = inputs[name][image, rows].view(height, width, EMBED_DIMS)
                target.append(whole[:h, :w])
            padding = torch.ones(height, width, dtype=torch.bool)
            padding[:h, :w] = False
            masks.append(padding.flatten())
            inputs["valid_ratios"][image, level] = torch.tensor([w / width, h / height])
        inputs["key_padding_mask"][image] = torch.cat(masks)
        mask, places = phrases(*lengths[image])
        length = len(places)
        inputs["text_attention_mask"][image, length:] = True
        inputs["text_self_attention_masks"][image] = torch.eye(LEN_TEXT).bool()
        inputs["text_self_attention_masks"][image, :length, :length] = mask
        inputs["position_ids"][image] = 0
        inputs["position_ids"][image, :length] = places
        text = inputs["memory_text"][image, :length]
        expected.append(slow_encode(encoder, maps, positions, text, mask, places))

    tokens, texts = encoder(**inputs)
    for image, (expected_tokens, expected_text) in enumerate(expected):
        torch.testing.assert_close(
            tokens[image][~inputs["key_padding_mask"][image]],
            expected_tokens,
            rtol=1e-6,
            atol=1e-6,
        )
        torch.testing.assert_close(
            texts[image][~inputs["text_attention_mask"][image]], expected_text
        )


def test_with_f_layers_only_it_is_the_encoder_of_mmdet():
    """With plain attention, and the low-level tokens' FFN that of the others."""
    attention = "MultiScaleDeformableAttention"
    encoder = make_encoder(
        attention, num_high_updates=1, num_blocks=2, low_ffn_channels=64
    )
    cfg = ConfigDict(layer_cfg=layer_cfg(attention), **text_cfgs())
    del cfg.layer_cfg.self_attn_cfg["type"]
    stock = GroundingDinoTransformerEncoder(num_layers=2, **cfg).eval()
    for parameter in stock.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    missing, unexpected = encoder.load_state_dict(stock.state_dict(), strict=False)
    assert unexpected == []
    assert all(".low_" in name for name in missing)
    for layer in encoder.layers:
        layer.low_ffn.load_state_dict(layer.ffn.state_dict())
        layer.low_norm.load_state_dict(layer.norms[1].state_dict())
    inputs = grounding_inputs()
    torch.testing.assert_close(encoder(**inputs), stock(**inputs))


def test_without_places_the_text_is_one_phrase():
    encoder = make_encoder()
    inputs = grounding_inputs()
    inputs["position_ids"] = torch.arange(LEN_TEXT).repeat(2, 1)
    expected = encoder(**inputs)
    del inputs["position_ids"]
    torch.testing.assert_close(encoder(**inputs), expected)


def test_recomputed_activations_give_the_same_gradients():
    """Under dropout, which has to fall on the same numbers again."""
    gradients, calls = [], []
    for num_cp in (-1, 4):
        encoder = make_encoder(dropout=0.5, num_cp=num_cp).train()
        count = []
        for layer in (*encoder.fusion_layers, *encoder.layers):
            layer.register_forward_pre_hook(
                lambda layer, args, count=count: count.append(layer)
            )
        inputs = grounding_inputs()
        torch.manual_seed(3)
        tokens, text = encoder(**inputs)
        (tokens.pow(2).sum() + text.pow(2).sum()).backward()
        gradients.append([parameter.grad for parameter in encoder.parameters()])
        calls.append(len(count))
    torch.testing.assert_close(gradients[1], gradients[0])
    assert calls == [12, 12 + 8]


def test_it_compiles_without_a_graph_break():
    encoder = make_encoder(num_blocks=1)
    inputs = grounding_inputs()
    inputs["spatial_shapes"] = tuple(map(tuple, SPATIAL_SHAPES.tolist()))
    expected = encoder(**inputs)
    compiled = torch.compile(encoder, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(**inputs), expected)
