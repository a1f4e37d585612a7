"""Matrix multiplications are found whatever layer makes them."""

import pytest
import torch
from torch import nn

from mmdet_lite.benchmark.matmul import matmuls_of
from mmdet_lite.runtime.packed_linear import can_pack, pack_linear_layers


def test_multiplications_are_counted_and_replayed():
    layer = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    tokens = torch.randn(2, 5, 8)
    run_matmuls, multiplies = matmuls_of(torch.no_grad()(lambda: layer(tokens)))
    assert multiplies == 2 * 5 * (8 * 16 + 16 * 4)
    with torch.profiler.profile() as profile:
        run_matmuls()
    calls = {event.key: event.count for event in profile.key_averages()}
    assert calls["aten::mm"] == 2


def test_batched_and_bare_products_count():
    left, right = torch.randn(3, 2, 5), torch.randn(3, 5, 7)
    _, multiplies = matmuls_of(lambda: (left @ right, left[0] @ right[0]))
    assert multiplies == 3 * 2 * 5 * 7 + 2 * 5 * 7


@pytest.mark.skipif(not can_pack(), reason="PyTorch without oneDNN")
def test_packed_layers_count_as_the_layers_they_stand_for():
    layer = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    pack_linear_layers(layer)
    tokens = torch.randn(2, 5, 8)
    run_matmuls, multiplies = matmuls_of(torch.no_grad()(lambda: layer(tokens)))
    assert multiplies == 2 * 5 * (8 * 16 + 16 * 4)
    with torch.profiler.profile() as profile:
        run_matmuls()
    calls = {event.key: event.count for event in profile.key_averages()}
    assert calls["mkldnn::_linear_pointwise"] == 2
