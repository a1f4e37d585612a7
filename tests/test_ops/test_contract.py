"""Arguments that do not fit are refused, and the message names the argument."""

import pytest
from operator_inputs import make_inputs

from mmdet_lite.ops import (
    key_aware_deformable_attention,
    multi_scale_deformable_attention,
)


@pytest.mark.parametrize(
    ("name", "change", "error"),
    [
        ("query", lambda t: t[:, :-1], ValueError),
        ("query", lambda t: t.flatten(2), ValueError),
        ("query", lambda t: t.float(), TypeError),
        ("value", lambda t: t.flatten(2), ValueError),
        ("value", lambda t: t[:, :-1], ValueError),
        ("value", lambda t: t.long(), TypeError),
        ("sampling_locations", lambda t: t[..., :1], ValueError),
        ("sampling_locations", lambda t: t[:1], ValueError),
        ("sampling_locations", lambda t: t.half(), TypeError),
        ("spatial_shapes", lambda t: t[:-1], ValueError),
        ("spatial_shapes", lambda t: t.double(), TypeError),
        ("spatial_shapes", lambda t: t + 1, ValueError),
        ("level_start_index", lambda t: t[:-1], ValueError),
        ("level_start_index", lambda t: t + 1, ValueError),
        ("key", lambda t: t[:, :-1], ValueError),
        ("key", lambda t: t.float(), TypeError),
        ("key", lambda t: t.to("meta"), ValueError),
        ("predicted_logits", lambda t: t.flatten(3), ValueError),
        ("predicted_logits", lambda t: t.half(), TypeError),
        ("predicted_logits", lambda t: t.to("meta"), ValueError),
    ],
)
def test_key_aware_attention_refuses(name, change, error):
    inputs = make_inputs()
    arguments = {
        **inputs.key_aware(),
        "key": inputs.key,
        "predicted_logits": inputs.predicted_logits,
    }
    arguments[name] = change(arguments[name])
    expected_name = "spatial_shapes" if name == "value" else name
    with pytest.raises(error, match=f"{name}|{expected_name}"):
        key_aware_deformable_attention(**arguments)


def test_heads_without_dimensions_are_refused():
    inputs = make_inputs()
    for operator, arguments in (
        (key_aware_deformable_attention, inputs.key_aware()),
        (multi_scale_deformable_attention, inputs.plain()),
    ):
        for name in {"query", "value"} & arguments.keys():
            arguments[name] = arguments[name][..., :0]
        with pytest.raises(ValueError, match="head_dims, the last dimension of value"):
            operator(**arguments)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda t: t.flatten(3), ValueError),
        (lambda t: t.half(), TypeError),
        (lambda t: t.to("meta"), ValueError),
    ],
)
def test_plain_attention_refuses_weights(change, error):
    arguments = make_inputs().plain()
    arguments["attention_weights"] = change(arguments["attention_weights"])
    with pytest.raises(error, match="attention_weights"):
        multi_scale_deformable_attention(**arguments)
