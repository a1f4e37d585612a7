"""Products are found whatever layer makes them."""

import pytest
import torch
from torch import nn

from mmdet_lite.benchmark.products import products_of
from mmdet_lite.runtime.packed_linear import can_pack, pack_linear_layers


def calls_of(run):
    """How often a run calls each of PyTorch's operators."""
    with torch.profiler.profile() as profile:
        run()
    return {event.key: event.count for event in profile.key_averages()}


def test_multiplications_are_counted_and_replayed():
    layer = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    tokens = torch.randn(2, 5, 8)
    run_products, multiplies = products_of(torch.no_grad()(lambda: layer(tokens)))
    assert multiplies == 2 * 5 * (8 * 16 + 16 * 4)
    calls = calls_of(run_products)
    assert calls["aten::mm"] == 2


def test_batched_and_bare_products_count():
    left, right = torch.randn(3, 2, 5), torch.randn(3, 5, 7)
    _, multiplies = products_of(lambda: (left @ right, left[0] @ right[0]))
    assert multiplies == 3 * 2 * 5 * 7 + 2 * 5 * 7


@pytest.mark.skipif(not can_pack(), reason="PyTorch without oneDNN")
def test_packed_layers_count_as_the_layers_they_stand_for():
    layer = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    pack_linear_layers(layer)
    tokens = torch.randn(2, 5, 8)
    run_products, multiplies = products_of(torch.no_grad()(lambda: layer(tokens)))
    assert multiplies == 2 * 5 * (8 * 16 + 16 * 4)
    calls = calls_of(run_products)
    assert calls["mkldnn::_linear_pointwise"] == 2


def test_convolutions_count_in_both_directions():
    layer = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)
    image = torch.randn(2, 4, 8, 10, requires_grad=True)
    run_products, multiplies = products_of(lambda: layer(image).sum().backward())
    # The product itself, and those of the gradients of image and weight.
    assert multiplies == 3 * (2 * 4 * 5) * (6 * 2 * 3 * 3)
    calls = calls_of(run_products)
    assert calls["aten::convolution"] == calls["aten::convolution_backward"] == 1


def test_transposed_convolutions_count_too():
    layer = nn.ConvTranspose2d(4, 6, 2, stride=2)
    image = torch.randn(1, 4, 5, 7)
    _, multiplies = products_of(torch.no_grad()(lambda: layer(image)))
    assert multiplies == 5 * 7 * (4 * 6 * 2 * 2)


def test_fused_attention_counts_in_both_directions():
    query, key, value = torch.randn(3, 1, 2, 8, 16, requires_grad=True)
    attention = nn.functional.scaled_dot_product_attention
    mask = torch.zeros(8, 8).masked_fill(torch.ones(8, 8).triu(1).bool(), -torch.inf)
    run_products, multiplies = products_of(
        lambda: attention(query, key, value, mask).sum().backward()
    )
    assert multiplies == (2 + 5) * 2 * 8 * 8 * 16
    run_products()
