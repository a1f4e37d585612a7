"""The reference backend is the definition: held against loops and derivatives."""

import math

import pytest
import torch
from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch
from operator_inputs import make_inputs
from slow_loop import key_aware_attention, plain_attention
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.functional import grid_sample

from mmdet_lite.ops import (
    key_aware_deformable_attention,
    multi_scale_deformable_attention,
)

REFERENCE = {"backend": "reference"}


def gradients(output: torch.Tensor, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Gradients of a weighted sum of the output that treats no element like another."""
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype)
    return torch.autograd.grad((output.flatten() * weights).sum(), inputs)


@pytest.mark.parametrize("predicted", [False, True])
@pytest.mark.parametrize("separate_key", [False, True])
def test_key_aware_attention_equals_the_loop(separate_key, predicted):
    inputs = make_inputs()
    differentiable = [inputs.query, inputs.value, inputs.sampling_locations]
    key = inputs.key if separate_key else None
    predicted_logits = inputs.predicted_logits if predicted else None
    if separate_key:
        differentiable.append(key)
    if predicted:
        differentiable.append(predicted_logits)
    for tensor in differentiable:
        tensor.requires_grad_()
    expected = key_aware_attention(
        inputs.query,
        inputs.value,
        inputs.spatial_shapes,
        inputs.sampling_locations,
        key,
        predicted_logits,
    )
    actual = key_aware_deformable_attention(
        **inputs.key_aware(), key=key, predicted_logits=predicted_logits, **REFERENCE
    )
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        gradients(actual, *differentiable),
        gradients(expected, *differentiable),
        rtol=1e-10,
        atol=1e-12,
    )


def test_plain_attention_equals_the_loop():
    inputs = make_inputs()
    differentiable = [inputs.value, inputs.sampling_locations, inputs.attention_weights]
    for tensor in differentiable:
        tensor.requires_grad_()
    expected = plain_attention(
        inputs.value,
        inputs.spatial_shapes,
        inputs.sampling_locations,
        inputs.attention_weights,
    )
    actual = multi_scale_deformable_attention(**inputs.plain(), **REFERENCE)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        gradients(actual, *differentiable),
        gradients(expected, *differentiable),
        rtol=1e-10,
        atol=1e-12,
    )


def test_plain_attention_equals_mmcv():
    inputs = make_inputs(batch=3, num_queries=11, head_dims=8)
    torch.testing.assert_close(
        multi_scale_deformable_attention(**inputs.plain(), **REFERENCE),
        multi_scale_deformable_attn_pytorch(
            inputs.value,
            inputs.spatial_shapes,
            inputs.sampling_locations,
            inputs.attention_weights,
        ),
    )


@pytest.mark.parametrize("separate_key", [False, True])
def test_key_aware_attention_has_right_derivatives(separate_key):
    inputs = make_inputs(batch=1, num_queries=3, num_points=2)

    def run(query, value, locations, predicted_logits, key):
        return key_aware_deformable_attention(
            query,
            value,
            inputs.spatial_shapes,
            inputs.level_start_index,
            locations,
            key=key if separate_key else None,
            predicted_logits=predicted_logits,
            **REFERENCE,
        )

    arguments = (
        inputs.query,
        inputs.value,
        inputs.sampling_locations,
        inputs.predicted_logits,
        inputs.key,
    )
    for tensor in arguments[: 5 if separate_key else 4]:
        tensor.requires_grad_()
    assert gradcheck(run, arguments, eps=1e-6, atol=1e-6)
    # grid_sample has no second derivative by location, and in older versions of
    # PyTorch none at all.
    inputs.sampling_locations.requires_grad_(False)
    if grid_sample_differentiates_twice():
        assert gradgradcheck(run, arguments, eps=1e-6, atol=1e-5)
    else:
        with pytest.raises(RuntimeError, match="grid_sampler_2d_backward"):
            gradgradcheck(run, arguments, eps=1e-6, atol=1e-5)


def grid_sample_differentiates_twice():
    value = torch.randn(1, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    output = grid_sample(value, torch.zeros_like(value[..., :2]), align_corners=False)
    (grad,) = torch.autograd.grad(output.pow(2).sum(), value, create_graph=True)
    try:
        torch.autograd.grad(grad.sum(), value)
    except RuntimeError:
        return False
    return True


def test_a_sample_outside_keeps_its_place_in_the_softmax():
    """Its key is zero, so its logit is 0: it takes weight and gives nothing."""
    inputs = make_inputs(batch=1, num_queries=1, num_heads=1, num_points=2)
    inputs.value.fill_(1.0)
    inputs.query.fill_(0.0)
    inputs.sampling_locations.fill_(0.5)
    inputs.sampling_locations[0, 0, 0, 0, 0] = 5.0
    inputs.sampling_locations[0, 0, 0, 2] = 0.5
    # The last map is 1x2: the middle of it is inside.
    output = key_aware_deformable_attention(**inputs.key_aware(), **REFERENCE)
    torch.testing.assert_close(output, torch.full_like(output, 5 / 6))


def test_a_sample_outside_has_its_predicted_logit_alone():
    inputs = make_inputs(batch=1, num_queries=1, num_heads=1, num_points=2)
    inputs.value.fill_(1.0)
    inputs.query.fill_(0.0)
    inputs.sampling_locations.fill_(0.5)
    inputs.sampling_locations[0, 0, 0, 0, 0] = 5.0
    inputs.predicted_logits.fill_(0.0)
    inputs.predicted_logits[0, 0, 0, 0, 0] = math.log(5.0)
    output = key_aware_deformable_attention(
        **inputs.key_aware(), predicted_logits=inputs.predicted_logits, **REFERENCE
    )
    # It weighs as much as the five others together.
    torch.testing.assert_close(output, torch.full_like(output, 1 / 2))


@pytest.mark.parametrize(
    "number", [float("nan"), float("inf"), -float("inf"), 1e9, 3e38, -3e38]
)
def test_a_location_that_is_none_counts_as_outside(number):
    inputs = make_inputs()
    inputs.sampling_locations[:, 2] = -3.0
    expected = key_aware_deformable_attention(**inputs.key_aware(), **REFERENCE)
    inputs.sampling_locations[:, 2, :, :, :, 1] = number
    inputs.sampling_locations.requires_grad_()
    actual = key_aware_deformable_attention(**inputs.key_aware(), **REFERENCE)
    torch.testing.assert_close(actual, expected)
    (gradient,) = torch.autograd.grad(actual.sum(), inputs.sampling_locations)
    assert torch.count_nonzero(gradient[:, 2]) == 0


def test_every_sample_outside_gives_zero():
    inputs = make_inputs()
    inputs.sampling_locations.fill_(-3.0)
    output = key_aware_deformable_attention(**inputs.key_aware(), **REFERENCE)
    assert torch.count_nonzero(output) == 0


def test_key_is_value_by_identity_and_by_copy():
    inputs = make_inputs()
    torch.testing.assert_close(
        key_aware_deformable_attention(**inputs.key_aware(), **REFERENCE),
        key_aware_deformable_attention(
            **inputs.key_aware(), key=inputs.value.clone(), **REFERENCE
        ),
    )


def test_constant_logits_weigh_uniformly():
    inputs = make_inputs()
    inputs.query.zero_()
    uniform = torch.full_like(inputs.attention_weights, 1 / 9)
    torch.testing.assert_close(
        key_aware_deformable_attention(**inputs.key_aware(), **REFERENCE),
        multi_scale_deformable_attention(
            **{**inputs.plain(), "attention_weights": uniform}, **REFERENCE
        ),
    )


def test_large_logits_do_not_overflow():
    inputs = make_inputs(dtype=torch.float32)
    inputs.query.mul_(500)
    output = key_aware_deformable_attention(**inputs.key_aware(), **REFERENCE)
    assert output.isfinite().all()


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 2e-5), (torch.float16, 2e-3), (torch.bfloat16, 1.6e-2)],
)
def test_lower_precision_stays_close_to_float64(dtype, tolerance):
    inputs = make_inputs(num_queries=31, head_dims=32, num_points=4, dtype=dtype)
    # Locations stay float32: half precision cannot address a large map.
    inputs.sampling_locations = make_inputs(
        num_queries=31, head_dims=32, num_points=4, dtype=torch.float32
    ).sampling_locations
    output = key_aware_deformable_attention(**inputs.key_aware(), **REFERENCE)
    assert output.dtype == dtype
    exact = key_aware_deformable_attention(
        inputs.query.double(),
        inputs.value.double(),
        inputs.spatial_shapes,
        inputs.level_start_index,
        inputs.sampling_locations.double(),
        **REFERENCE,
    )
    error = (output.double() - exact).abs().max() / exact.abs().max()
    assert error < tolerance


def test_no_queries_give_an_empty_result_and_zero_gradients():
    inputs = make_inputs(num_queries=0)
    inputs.value.requires_grad_()
    for output in (
        key_aware_deformable_attention(**inputs.key_aware(), **REFERENCE),
        multi_scale_deformable_attention(**inputs.plain(), **REFERENCE),
    ):
        assert output.shape == (2, 0, 8)
        (gradient,) = torch.autograd.grad(output.sum(), inputs.value)
        assert torch.count_nonzero(gradient) == 0


def test_non_contiguous_arguments():
    inputs = make_inputs()
    expected = key_aware_deformable_attention(**inputs.key_aware(), **REFERENCE)
    inputs.query = inputs.query.transpose(1, 2).contiguous().transpose(1, 2)
    inputs.value = inputs.value.transpose(1, 2).contiguous().transpose(1, 2)
    assert not inputs.value.is_contiguous()
    torch.testing.assert_close(
        key_aware_deformable_attention(**inputs.key_aware(), **REFERENCE), expected
    )
