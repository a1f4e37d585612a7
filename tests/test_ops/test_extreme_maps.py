"""Maps of the smallest and the longest images, against the slow definition."""

import pytest
import torch
from operator_cases import KINDS, Case
from slow_loop import key_aware_attention, plain_attention

from mmdet_lite.layers import KeyAwareDeformableAttention
from mmdet_lite.ops import available_backends

# Strides 8 to 64 of an image.
MAPS = {
    "one pixel": ((1, 1),) * 4,
    "32x32": ((4, 4), (2, 2), (1, 1), (1, 1)),
    "2000x40": ((250, 5), (125, 3), (63, 2), (32, 1)),
    "8x1000": ((1, 125), (1, 63), (1, 32), (1, 16)),
}


def slowly(kind, tensors, shapes):
    if kind == "plain":
        return plain_attention(spatial_shapes=shapes, **tensors)
    return key_aware_attention(spatial_shapes=shapes, **tensors)


@pytest.mark.parametrize("maps", MAPS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", available_backends("cpu", torch.float64))
def test_every_backend_is_the_definition(backend, kind, maps):
    case = Case(kind, batch=1, queries=3, heads=2, points=2, shapes=MAPS[maps])
    expected = slowly(kind, case.tensors, case.spatial_shapes)
    torch.testing.assert_close(case.call(backend), expected)
    gradients = case.run(backend)
    reference = case.run("reference")
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, reference[name])


@pytest.mark.parametrize("backend", available_backends("cpu", torch.float64))
def test_rows_that_are_all_padding_count_as_zeros(backend):
    """One map row, and all of another image, are padding."""
    torch.manual_seed(0)
    shapes = torch.tensor(MAPS["32x32"])
    starts = torch.tensor([0, 16, 20, 21])
    attention = KeyAwareDeformableAttention(
        16, num_heads=2, num_points=2, dropout=0.0, batch_first=True, backend=backend
    ).double()
    tokens = torch.randn(2, 22, 16, dtype=torch.float64, requires_grad=True)
    mask = torch.zeros(2, 22, dtype=torch.bool)
    mask[0, 4:8] = True
    mask[1] = True
    points = torch.rand(2, 22, 4, 2, dtype=torch.float64)
    out = attention(
        query=tokens,
        key_padding_mask=mask,
        reference_points=points,
        spatial_shapes=shapes,
        level_start_index=starts,
    )
    arguments = attention.operator_arguments(tokens, tokens, mask, points, shapes)
    assert (arguments["value"][mask] == 0).all()
    expected = attention.output_proj(
        key_aware_attention(spatial_shapes=shapes, **arguments)
    )
    torch.testing.assert_close(out, expected + tokens)
    out.square().sum().backward()
    assert tokens.grad.isfinite().all()
