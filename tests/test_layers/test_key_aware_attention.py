"""The key-aware attention module, held against mmcv's module and the slow loop."""

import pytest
import torch
from mmcv.ops import MultiScaleDeformableAttention
from mmdet.registry import MODELS

from mmdet_lite.layers import KeyAwareDeformableAttention
from mmdet_lite.ops import key_aware_deformable_attention

SPATIAL_SHAPES = torch.tensor([[6, 5], [3, 4], [2, 2]])
LEVEL_START_INDEX = torch.tensor([0, 30, 42])
NUM_TOKENS = 46
SIZE = {"embed_dims": 16, "num_heads": 2, "num_levels": 3, "num_points": 4}


@pytest.fixture
def attention():
    torch.manual_seed(0)
    module = KeyAwareDeformableAttention(**SIZE, dropout=0.0, batch_first=True)
    # Initial offsets ignore the query; trained ones do not.
    torch.nn.init.normal_(module.sampling_offsets.weight, std=0.3)
    return module.double().eval()


def call_arguments(num_coordinates=2, num_queries=7, batch=2):
    torch.manual_seed(1)
    reference = torch.rand(batch, num_queries, 3, num_coordinates)
    return {
        "query": torch.randn(batch, num_queries, 16).double(),
        "value": torch.randn(batch, NUM_TOKENS, 16).double(),
        "query_pos": torch.randn(batch, num_queries, 16).double(),
        "reference_points": reference.double(),
        "spatial_shapes": SPATIAL_SHAPES,
        "level_start_index": LEVEL_START_INDEX,
    }


def locations_of_mmcv(attention, arguments, monkeypatch):
    """Where mmcv's module samples, given the offsets of ours."""
    plain = MultiScaleDeformableAttention(**SIZE, dropout=0.0, batch_first=True)
    plain.double().sampling_offsets = attention.sampling_offsets
    seen = {}

    def record(value, spatial_shapes, sampling_locations, attention_weights):
        seen["locations"] = sampling_locations
        return value.new_zeros(*sampling_locations.shape[:2], 16)

    monkeypatch.setattr(
        "mmcv.ops.multi_scale_deform_attn.multi_scale_deformable_attn_pytorch", record
    )
    plain(**arguments)
    return seen["locations"]


@pytest.mark.parametrize("num_coordinates", [2, 4])
@pytest.mark.parametrize("proj_key", [False, True])
def test_forward_follows_the_equations(
    attention, monkeypatch, num_coordinates, proj_key
):
    """Projections, mask, softmax, identity; samples where mmcv's module samples."""
    if proj_key:
        attention.key_proj = torch.nn.Linear(16, 16).double()
    arguments = call_arguments(num_coordinates)
    mask = torch.zeros(2, NUM_TOKENS, dtype=torch.bool)
    mask[1, 20:30] = True
    heads = (2, 8)
    query = attention.query_proj(arguments["query"] + arguments["query_pos"])
    value = attention.value_proj(arguments["value"])
    value[mask] = 0
    key = None
    if proj_key:
        key = attention.key_proj(arguments["value"])
        key[mask] = 0
        key = key.unflatten(-1, heads)
    attended = key_aware_deformable_attention(
        query.unflatten(-1, heads),
        value.unflatten(-1, heads),
        SPATIAL_SHAPES,
        LEVEL_START_INDEX,
        locations_of_mmcv(attention, arguments, monkeypatch),
        key=key,
    )
    identity = torch.randn(2, 7, 16).double()
    torch.testing.assert_close(
        attention(**arguments, key_padding_mask=mask, identity=identity),
        attention.output_proj(attended) + identity,
    )


def test_sequence_first_gives_the_same():
    torch.manual_seed(0)
    batch_first = KeyAwareDeformableAttention(**SIZE, dropout=0.0, batch_first=True)
    sequence_first = KeyAwareDeformableAttention(**SIZE, dropout=0.0)
    sequence_first.load_state_dict(batch_first.state_dict())
    arguments = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in call_arguments().items()
    }
    swapped = {
        name: tensor.transpose(0, 1)
        if name in ("query", "value", "query_pos")
        else tensor
        for name, tensor in arguments.items()
    }
    torch.testing.assert_close(
        sequence_first(**swapped).transpose(0, 1), batch_first(**arguments)
    )


def test_value_defaults_to_query_and_identity_to_query(attention):
    arguments = call_arguments(num_queries=NUM_TOKENS)
    arguments["value"] = arguments["query"]
    expected = attention(**arguments, identity=arguments["query"])
    del arguments["value"]
    torch.testing.assert_close(attention(**arguments), expected)


def test_identity_has_the_name_that_mmcv_gave_it_once(attention):
    arguments = call_arguments()
    other = torch.ones_like(arguments["query"])
    expected = attention(**arguments, identity=other)
    with pytest.warns(DeprecationWarning, match='"residual" is deprecated'):
        actual = attention(**arguments, residual=other)
    torch.testing.assert_close(actual, expected)


def test_masked_tokens_have_no_influence(attention):
    arguments = call_arguments()
    mask = torch.zeros(2, NUM_TOKENS, dtype=torch.bool)
    mask[:, 10:25] = True
    before = attention(**arguments, key_padding_mask=mask)
    arguments["value"][:, 10:25] = 1e3
    torch.testing.assert_close(attention(**arguments, key_padding_mask=mask), before)
    assert not torch.allclose(attention(**arguments), before)


def test_reference_points_of_three_coordinates_are_refused(attention):
    arguments = call_arguments()
    arguments["reference_points"] = torch.rand(2, 7, 3, 3).double()
    with pytest.raises(ValueError, match="reference_points must be 2"):
        attention(**arguments)


@pytest.mark.parametrize(
    "name", ["reference_points", "spatial_shapes", "level_start_index"]
)
def test_what_says_where_to_sample_must_be_given(attention, name):
    arguments = call_arguments()
    del arguments[name]
    with pytest.raises(ValueError, match=f"{name}.* are needed"):
        attention(**arguments)


def test_initialisation_is_the_prescribed_one():
    module = KeyAwareDeformableAttention(**SIZE, proj_key=True)
    plain = MultiScaleDeformableAttention(**SIZE)
    assert module.attention_weights is None
    assert torch.count_nonzero(module.sampling_offsets.weight) == 0
    torch.testing.assert_close(
        module.sampling_offsets.bias, plain.sampling_offsets.bias
    )
    bound = (6 / (16 + 16)) ** 0.5
    for projection in (
        module.query_proj,
        module.key_proj,
        module.value_proj,
        module.output_proj,
    ):
        assert torch.count_nonzero(projection.bias) == 0
        assert 0.8 * bound < projection.weight.abs().max() <= bound


def test_the_registry_builds_it():
    cfg = {"type": "KeyAwareDeformableAttention", **SIZE}
    assert isinstance(MODELS.build(cfg), KeyAwareDeformableAttention)


def test_autocast_keeps_the_locations_in_single_precision(attention, monkeypatch):
    seen = {}

    def record(query, value, sampling_locations, **kwargs):
        seen["dtype"] = sampling_locations.dtype
        seen["value"] = value.dtype
        return value.new_zeros(*query.shape[:2], 16)

    monkeypatch.setattr(
        "mmdet_lite.layers.key_aware_attention.key_aware_deformable_attention", record
    )
    arguments = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in call_arguments().items()
    }
    with torch.autocast("cpu", torch.bfloat16):
        attention.float()(**arguments)
    assert seen == {"dtype": torch.float32, "value": torch.bfloat16}


def test_a_uniform_start_weighs_all_samples_alike_and_learns():
    torch.manual_seed(0)
    module = KeyAwareDeformableAttention(
        **SIZE, dropout=0.0, batch_first=True, uniform_start=True
    )
    module.init_weights()  # mmdet calls it once more
    arguments = {
        name: argument.float() if argument.is_floating_point() else argument
        for name, argument in call_arguments().items()
    }
    plain = MultiScaleDeformableAttention(**SIZE, dropout=0.0, batch_first=True)
    plain.load_state_dict(module.state_dict(), strict=False)
    output = module(**arguments)
    torch.testing.assert_close(output, plain(**arguments))
    output.square().sum().backward()
    assert module.query_proj.weight.grad.abs().max() > 0


class TestPredictedLogits:
    @pytest.fixture
    def attentions(self):
        """Ours, and a trained one of mmcv."""
        torch.manual_seed(0)
        ours = KeyAwareDeformableAttention(
            **SIZE, dropout=0.0, batch_first=True, predict_logits=True
        )
        ours.init_weights()  # mmdet calls it once more
        plain = MultiScaleDeformableAttention(**SIZE, dropout=0.0, batch_first=True)
        for layer in (plain.sampling_offsets, plain.attention_weights):
            torch.nn.init.normal_(layer.weight, std=0.3)
        return ours.double(), plain.double()

    def test_they_start_as_deformable_attention(self, attentions):
        ours, plain = attentions
        plain.load_state_dict(ours.state_dict(), strict=False)
        assert torch.count_nonzero(ours.attention_weights.weight) == 0
        assert torch.count_nonzero(ours.query_proj.weight) == 0
        arguments = call_arguments()
        torch.testing.assert_close(ours(**arguments), plain(**arguments))

    def test_weights_of_deformable_attention_are_a_start(self, attentions):
        ours, plain = attentions
        missing, unexpected = ours.load_state_dict(plain.state_dict(), strict=False)
        assert missing == ["query_proj.weight", "query_proj.bias"]
        assert unexpected == []
        arguments = call_arguments()
        mask = torch.zeros(2, NUM_TOKENS, dtype=torch.bool)
        mask[1, 20:30] = True
        output = ours(**arguments, key_padding_mask=mask)
        torch.testing.assert_close(output, plain(**arguments, key_padding_mask=mask))
        output.square().sum().backward()
        # It learns to look at keys from there.
        assert ours.query_proj.weight.grad.abs().max() > 0
        assert ours.attention_weights.weight.grad.abs().max() > 0

    def test_they_are_added_to_query_times_key(self, attentions):
        ours, plain = attentions
        ours.load_state_dict(plain.state_dict(), strict=False)
        torch.nn.init.normal_(ours.query_proj.weight)
        arguments = call_arguments()
        query = arguments["query"] + arguments["query_pos"]
        rest = {"value", "reference_points", "spatial_shapes"}
        given = {name: arguments[name] for name in rest}
        operator = ours.operator_arguments(query, key_padding_mask=None, **given)
        predicted = operator.pop("predicted_logits")
        expected = plain.attention_weights(query)
        torch.testing.assert_close(predicted.flatten(2), expected)
        levels = {
            "spatial_shapes": SPATIAL_SHAPES,
            "level_start_index": LEVEL_START_INDEX,
        }
        attended = key_aware_deformable_attention(
            **operator, predicted_logits=predicted, **levels
        )
        without = key_aware_deformable_attention(**operator, **levels)
        assert not torch.allclose(attended, without)
        output = ours.output_proj(attended) + arguments["query"]
        torch.testing.assert_close(ours(**arguments), output)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_stays_finite_where_logits_leave_float16(attention, dtype):
    """Projections fit into float16, and their products do not."""
    attention.float()
    torch.nn.init.normal_(attention.query_proj.weight, std=150.0)
    torch.nn.init.normal_(attention.value_proj.weight, std=50.0)
    arguments = {
        name: argument.float() if argument.is_floating_point() else argument
        for name, argument in call_arguments().items()
    }
    query = attention.query_proj(arguments["query"] + arguments["query_pos"])
    value = attention.value_proj(arguments["value"])
    limit = torch.finfo(torch.float16).max
    assert max(query.abs().max(), value.abs().max()) < limit
    assert (query @ value.transpose(1, 2)).abs().max() > limit
    with torch.autocast("cpu", dtype):
        output = attention(**arguments)
        output.float().square().mean().backward()
    assert output.isfinite().all()
    expected = attention(**arguments)
    error = (output - expected).abs().median() / expected.abs().median()
    assert error < 0.05
    for name, parameter in attention.named_parameters():
        assert parameter.grad.isfinite().all(), name
