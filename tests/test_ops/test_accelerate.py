"""mmcv's module gives the same results on the fast operator, and can be put back."""

import pytest
import torch
from mmcv.ops import MultiScaleDeformableAttention
from mmcv.ops import multi_scale_deform_attn as mmcv_module
from python_process import run_python

from mmdet_lite.ops import multi_scale_deformable_attention
from mmdet_lite.ops.accelerate import mmcv_operator

SPATIAL_SHAPES = torch.tensor([[6, 5], [3, 4], [2, 2], [1, 1]])
LEVEL_START_INDEX = torch.tensor([0, 30, 42, 46])
NUM_TOKENS = 47


def run(attention, autocast=False):
    torch.manual_seed(1)
    value = torch.randn(2, NUM_TOKENS, 32, requires_grad=True)
    query = torch.randn(2, 9, 32, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        output = attention(
            query,
            value=value,
            reference_points=torch.rand(2, 9, 4, 2),
            spatial_shapes=SPATIAL_SHAPES,
            level_start_index=LEVEL_START_INDEX,
        )
    return output, *torch.autograd.grad(output.float().pow(2).sum(), (query, value))


@pytest.fixture
def attention():
    torch.manual_seed(0)
    module = MultiScaleDeformableAttention(
        embed_dims=32, num_heads=4, dropout=0.0, batch_first=True
    )
    torch.nn.init.normal_(module.sampling_offsets.weight, std=0.3)
    torch.nn.init.normal_(module.attention_weights.weight, std=0.3)
    return module


def test_results_and_gradients_are_those_of_mmcv(attention):
    with mmcv_operator(fast=False):
        expected = run(attention)
    with mmcv_operator(fast=True):
        actual = run(attention)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_it_runs_under_autocast(attention):
    with mmcv_operator(fast=True):
        mixed = run(attention, autocast=True)[0]
        exact = run(attention)[0]
    assert (mixed.float() - exact).abs().max() < 0.05 * exact.abs().max()


def test_the_choice_ends_with_its_block(monkeypatch, attention):
    calls = []

    def record(value, shapes, starts, sampling_locations, weights):
        calls.append(sampling_locations)
        return torch.zeros(*sampling_locations.shape[:2], 32)

    monkeypatch.setattr(
        "mmdet_lite.ops.accelerate.multi_scale_deformable_attention", record
    )
    with mmcv_operator(fast=True):
        attention(
            torch.randn(1, 3, 32),
            value=torch.randn(1, NUM_TOKENS, 32),
            reference_points=torch.rand(1, 3, 4, 2),
            spatial_shapes=SPATIAL_SHAPES,
            level_start_index=LEVEL_START_INDEX,
        )
    assert len(calls) == 1
    with mmcv_operator(fast=False):
        run(attention)
    assert len(calls) == 1


def test_on_a_gpu_too_it_is_the_operator_of_here():
    torch.manual_seed(0)
    arguments = (
        torch.randn(2, NUM_TOKENS, 4, 8),
        SPATIAL_SHAPES,
        LEVEL_START_INDEX,
        torch.rand(2, 9, 4, 4, 3, 2),
        torch.rand(2, 9, 4, 4, 3),
    )
    own = mmcv_module.MultiScaleDeformableAttnFunction
    with mmcv_operator(fast=True):
        output = mmcv_module.MultiScaleDeformableAttnFunction.apply(*arguments, 64)
    assert mmcv_module.MultiScaleDeformableAttnFunction is own
    expected = multi_scale_deformable_attention(*arguments, backend="reference")
    torch.testing.assert_close(output, expected)


def test_importing_the_switch_replaces_it(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from mmcv.ops import multi_scale_deform_attn as module\n"
        "print(module.multi_scale_deformable_attn_pytorch.__name__)\n"
        "import mmdet_lite.accelerate\n"
        "print(module.multi_scale_deformable_attn_pytorch.__name__)\n"
    )
    result = run_python(script)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [
        "multi_scale_deformable_attn_pytorch",
        "fast_mmcv_operator",
    ]
