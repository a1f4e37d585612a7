"""The interleaved encoder: which tokens a layer updates, and in which order."""

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
from mmdet.models.layers import DeformableDetrTransformerEncoder
from mmdet.registry import MODELS

from mmdet_lite.errors import ConfigError
from mmdet_lite.layers import LiteDetrTransformerEncoder
from mmdet_lite.layers.interleaved_encoder import (
    FullEncoderLayer,
    HighLevelEncoderLayer,
    NoFusionHighLevelEncoderLayer,
    layer_sequence,
)
from mmdet_lite.ops import available_backends

ATTENTIONS = ["KeyAwareDeformableAttention", "MultiScaleDeformableAttention"]


def make_encoder(attention="KeyAwareDeformableAttention", **kwargs):
    torch.manual_seed(0)
    return LiteDetrTransformerEncoder(layer_cfg(attention), **kwargs).eval()


@pytest.mark.parametrize(
    ("updates", "blocks", "expected"),
    [
        (6, 1, "HHHHHF"),
        (3, 2, "HHFHHF"),
        (2, 3, "HFHFHF"),
        (1, 6, "FFFFFF"),
        (1, 1, "F"),
        (4, 2, "HHHFHHHF"),
    ],
)
def test_layer_sequence_is_what_the_notation_says(updates, blocks, expected):
    assert layer_sequence(updates, blocks) == expected


def test_reference_points_are_those_of_mmdet():
    shapes = [(int(height), int(width)) for height, width in SPATIAL_SHAPES]
    ratios = torch.rand(3, len(shapes), 2) * 0.5 + 0.5
    actual, expected = (
        encoder.get_encoder_reference_points(shapes, ratios, device="cpu")
        for encoder in (LiteDetrTransformerEncoder, DeformableDetrTransformerEncoder)
    )
    assert actual.equal(expected)


def test_reference_points_of_a_large_map_are_not_rounded():
    """mmdet's ratios of images without padding have the maps' dtype under autocast."""
    shapes = [(8, 375), (4, 188)]
    expected, actual = (
        LiteDetrTransformerEncoder.get_encoder_reference_points(
            shapes, torch.ones(1, 2, 2, dtype=dtype), device="cpu"
        )
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert actual.equal(expected)


@pytest.mark.parametrize("num_high_levels", [1, 2, 3])
@pytest.mark.parametrize(("updates", "blocks"), [(6, 1), (3, 2), (2, 3), (1, 6)])
def test_each_layer_updates_the_tokens_of_its_kind(num_high_levels, updates, blocks):
    encoder = make_encoder(
        num_high_levels=num_high_levels, num_high_updates=updates, num_blocks=blocks
    )
    num_low_tokens = int(LEVEL_START_INDEX[-num_high_levels])
    changes = []

    def record(layer, args, output):
        changed = (output != args[0]).any(-1).any(0)
        changes.append((changed[:num_low_tokens], changed[num_low_tokens:]))

    for layer in encoder.layers:
        layer.register_forward_hook(record)
    encoder(**encoder_inputs())
    kinds = layer_sequence(updates, blocks)
    assert len(changes) == len(kinds)
    for kind, (low_changed, high_changed) in zip(kinds, changes, strict=True):
        assert high_changed.all()
        assert low_changed.all() if kind == "F" else not low_changed.any()


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_without_fusion_an_h_layer_is_one_of_the_high_levels_alone(attention):
    encoder = make_encoder(attention, iterative_fusion=False)
    layer = encoder.layers[0]
    assert isinstance(layer, NoFusionHighLevelEncoderLayer)
    assert [layer.self_attn.num_levels for layer in encoder.layers] == [3, 4] * 3
    inputs = encoder_inputs()
    inputs["key_padding_mask"] = torch.rand(2, NUM_TOKENS) < 0.2
    shared = encoder.shared_inputs(
        **{name: value for name, value in inputs.items() if name != "query"}
    )
    high = inputs["query"][:, 48:]
    alone = HighLevelEncoderLayer.forward(
        layer,
        high,
        query_pos=inputs["query_pos"][:, 48:],
        reference_points=shared["reference_points"][:, 48:, 1:],
        num_low_tokens=0,
        key_padding_mask=inputs["key_padding_mask"][:, 48:],
        spatial_shapes=SPATIAL_SHAPES[1:],
        level_start_index=LEVEL_START_INDEX[1:] - 48,
    )
    output = layer(inputs["query"], **shared)
    assert output[:, :48].equal(inputs["query"][:, :48])
    assert output[:, 48:].equal(alone)
    assert encoder(**inputs).isfinite().all()


def test_an_h_layer_sees_the_low_tokens():
    """Stale as they are, they are keys and values of the high-level queries."""
    encoder = make_encoder()
    inputs = encoder_inputs()
    shared = {
        "query_pos": inputs["query_pos"],
        "reference_points": torch.rand(2, NUM_TOKENS, 4, 2),
        "num_low_tokens": 48,
        "key_padding_mask": None,
        "spatial_shapes": SPATIAL_SHAPES,
        "level_start_index": LEVEL_START_INDEX,
    }
    before = encoder.layers[0](inputs["query"], **shared)
    tokens = inputs["query"].clone()
    tokens[:, :48] += 1
    after = encoder.layers[0](tokens, **shared)
    assert not torch.allclose(before[:, 48:], after[:, 48:])


def test_position_goes_to_the_query_only():
    """With zero offsets' and query weights, position has no way into the result."""
    encoder = make_encoder()
    for layer in encoder.layers:
        torch.nn.init.zeros_(layer.self_attn.query_proj.weight)
        torch.nn.init.zeros_(layer.self_attn.sampling_offsets.weight)
    inputs = encoder_inputs()
    before = encoder(**inputs)
    inputs["query_pos"] = inputs["query_pos"] + 3
    torch.testing.assert_close(encoder(**inputs), before)


def test_low_tokens_have_a_small_ffn_and_a_norm_of_their_own():
    encoder = make_encoder()
    kinds = {"H": HighLevelEncoderLayer, "F": FullEncoderLayer}
    for kind, layer in zip(encoder.layer_kinds, encoder.layers, strict=True):
        assert type(layer) is kinds[kind]
        assert layer.ffn.feedforward_channels == 64
        if kind == "F":
            assert layer.low_ffn.feedforward_channels == EMBED_DIMS
            assert layer.low_norm is not layer.norms[1]
    wide = make_encoder(low_ffn_channels=48)
    assert wide.layers[1].low_ffn.feedforward_channels == 48


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_a_padded_batch_gives_each_image_what_it_gets_alone(attention):
    """Two images of different size, padded to one canvas."""
    encoder = make_encoder(attention).double()
    sizes = [[(8, 6), (4, 3), (2, 2), (1, 1)], [(4, 6), (2, 3), (1, 2), (1, 1)]]
    torch.manual_seed(2)
    alone, padded_tokens, padded_positions, masks, ratios = [], [], [], [], []
    for image_sizes in sizes:
        maps = [torch.randn(h, w, EMBED_DIMS).double() for h, w in image_sizes]
        positions = [torch.randn_like(m) for m in maps]
        shapes = torch.tensor(image_sizes)
        starts = shapes.prod(1).cumsum(0) - shapes.prod(1)
        alone.append(
            encoder(
                query=torch.cat([m.flatten(0, 1) for m in maps])[None],
                query_pos=torch.cat([p.flatten(0, 1) for p in positions])[None],
                key_padding_mask=None,
                spatial_shapes=shapes,
                level_start_index=starts,
                valid_ratios=torch.ones(1, 4, 2).double(),
            )[0]
        )
        canvas_tokens, canvas_positions, mask = [], [], []
        for level, (height, width) in enumerate(SPATIAL_SHAPES.tolist()):
            h, w = image_sizes[level]
            # What lies in the padding must not matter.
            for target, source in (
                (canvas_tokens, maps),
                (canvas_positions, positions),
            ):
                canvas = torch.randn(height, width, EMBED_DIMS).double()
                canvas[:h, :w] = source[level]
                target.append(canvas.flatten(0, 1))
            level_mask = torch.ones(height, width, dtype=torch.bool)
            level_mask[:h, :w] = False
            mask.append(level_mask.flatten())
        padded_tokens.append(torch.cat(canvas_tokens))
        padded_positions.append(torch.cat(canvas_positions))
        masks.append(torch.cat(mask))
        ratios.append(
            torch.tensor(
                [
                    (w / width, h / height)
                    for (h, w), (height, width) in zip(
                        image_sizes, SPATIAL_SHAPES.tolist(), strict=True
                    )
                ]
            ).double()
        )
    together = encoder(
        query=torch.stack(padded_tokens),
        query_pos=torch.stack(padded_positions),
        key_padding_mask=torch.stack(masks),
        spatial_shapes=SPATIAL_SHAPES,
        level_start_index=LEVEL_START_INDEX,
        valid_ratios=torch.stack(ratios),
    )
    for index in range(2):
        torch.testing.assert_close(
            together[index][~masks[index]], alone[index], rtol=1e-6, atol=1e-6
        )


def test_recomputed_activations_give_the_same_gradients():
    plain, recomputing = make_encoder(), make_encoder(num_cp=6)
    for encoder in (plain, recomputing):
        encoder.train()
        encoder(**encoder_inputs()).pow(2).sum().backward()
    for expected, actual in zip(
        plain.parameters(), recomputing.parameters(), strict=True
    ):
        torch.testing.assert_close(actual.grad, expected.grad)


@pytest.mark.parametrize("training", [False, True])
def test_it_compiles_without_a_graph_break(training):
    if training and available_backends() == ["reference"]:
        pytest.skip("PyTorch compiles grid_sample's derivative with wrong strides")
    encoder = make_encoder().train(training)
    inputs = encoder_inputs()
    inputs["spatial_shapes"] = tuple(map(tuple, SPATIAL_SHAPES.tolist()))
    expected = encoder(**inputs)
    compiled = torch.compile(encoder, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(**inputs), expected)
    if training:
        expected.pow(2).sum().backward()
        gradients = [parameter.grad.clone() for parameter in encoder.parameters()]
        encoder.zero_grad()
        compiled(**inputs).pow(2).sum().backward()
        torch.testing.assert_close(
            [parameter.grad for parameter in encoder.parameters()], gradients
        )


def test_shapes_as_numbers_give_the_same():
    encoder = make_encoder()
    inputs = encoder_inputs()
    expected = encoder(**inputs)
    inputs["spatial_shapes"] = tuple(map(tuple, SPATIAL_SHAPES.tolist()))
    assert encoder(**inputs).equal(expected)


def test_the_registry_builds_it_with_plain_attention():
    encoder = MODELS.build(
        {
            "type": "LiteDetrTransformerEncoder",
            "layer_cfg": {
                "self_attn_cfg": {
                    "type": "MultiScaleDeformableAttention",
                    "embed_dims": EMBED_DIMS,
                },
                "ffn_cfg": {"embed_dims": EMBED_DIMS},
            },
        }
    )
    assert encoder.layers[0].self_attn.attention_weights is not None
    assert encoder.num_layers == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_layers": 4}, r"num_high_updates \(2\) times num_blocks \(3\) gives 6"),
        ({"num_high_levels": 0}, "num_high_levels must be between 1 and 3"),
        ({"num_high_levels": 4}, "num_high_levels must be between 1 and 3"),
        ({"num_high_updates": 0}, "num_high_updates must be a positive integer"),
        ({"num_blocks": 1.5}, "num_blocks must be a positive integer"),
    ],
)
def test_combinations_that_make_no_encoder_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        make_encoder(**arguments)


def test_one_level_is_refused():
    config = layer_cfg("KeyAwareDeformableAttention")
    config["self_attn_cfg"]["num_levels"] = 1
    with pytest.raises(ConfigError, match="two feature levels or more"):
        LiteDetrTransformerEncoder(config, num_high_levels=1)


@pytest.mark.parametrize("training", [False, True])
def test_autocast_halves_the_tokens_between_layers_without_gradients(training):
    encoder = make_encoder()
    inputs = encoder_inputs()
    expected = encoder(**inputs)
    dtypes = set()
    for layer in encoder.layers:
        layer.register_forward_pre_hook(lambda _, args: dtypes.add(args[0].dtype))
    with torch.set_grad_enabled(training), torch.autocast("cpu", torch.bfloat16):
        output = encoder(**inputs)
    assert output.dtype == torch.float32
    assert dtypes == {torch.float32 if training else torch.bfloat16}
    # Eight bits, through six layers that are normalised.
    assert (output - expected).abs().max() < 0.15
    assert (output - expected).square().mean().sqrt() < 0.02
