"""Packed linear layers compute what the layers did that they stand for."""

import pytest
import torch
from mmcv.cnn.bricks.transformer import FFN
from torch import nn

from mmdet_lite.runtime.packed_linear import (
    PackedLinear,
    can_pack,
    pack_linear_layers,
)

pytestmark = [
    pytest.mark.skipif(not can_pack(), reason="PyTorch without oneDNN"),
    pytest.mark.usefixtures("no_gradients"),
]


@pytest.fixture
def no_gradients():
    torch.manual_seed(0)
    with torch.no_grad():
        yield


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [(3, 7), (1,), (2, 0)])
def test_result_is_the_layers(bias, rows):
    layer = nn.Linear(19, 45, bias=bias)
    inputs = torch.randn(*rows, 19)
    torch.testing.assert_close(PackedLinear(layer)(inputs), layer(inputs))


def test_rows_that_are_not_dense_are_read_right():
    layer = nn.Linear(16, 8)
    inputs = torch.randn(16, 2, 40).transpose(0, 2)[5:30]
    torch.testing.assert_close(PackedLinear(layer)(inputs), layer(inputs))


def test_autocast_decides_what_it_computes_in():
    layer, inputs = nn.Linear(64, 32), torch.randn(5, 64)
    packed = PackedLinear(layer)
    with torch.autocast("cpu", torch.bfloat16):
        half, wanted = packed(inputs), layer(inputs)
        with torch.autocast("cpu", enabled=False):
            inside = packed(inputs)
    assert half.dtype == wanted.dtype == torch.bfloat16
    torch.testing.assert_close(half, wanted)
    torch.testing.assert_close(inside, layer(inputs))


def test_feed_forward_network_takes_in_its_relu():
    network = FFN(32, 64, add_identity=True)
    inputs = torch.randn(2, 9, 32)
    wanted = network(inputs)
    pack_linear_layers(network)
    assert [m.relu for m in network.modules() if isinstance(m, PackedLinear)] == [
        True,
        False,
    ]
    assert not any(isinstance(m, nn.ReLU) for m in network.modules())
    torch.testing.assert_close(network(inputs), wanted)


def test_layer_in_two_places_stays_one_and_keeps_its_relu_outside():
    shared = nn.Linear(8, 8)
    model = nn.ModuleDict(
        {"a": nn.Sequential(shared, nn.ReLU()), "b": nn.Sequential(shared)}
    )
    inputs = torch.randn(4, 8)
    wanted = {name: module(inputs) for name, module in model.items()}
    pack_linear_layers(model)
    assert model["a"][0] is model["b"][0]
    for name, module in model.items():
        torch.testing.assert_close(module(inputs), wanted[name])


def test_what_is_more_than_a_linear_layer_stays():
    """Hooks, other precisions, and layers whose weights their parents read."""
    model = nn.ModuleDict(
        {
            "hooked": nn.Linear(8, 8),
            "float64": nn.Linear(8, 8, dtype=torch.float64),
            "attention": nn.MultiheadAttention(8, 2),
        }
    )
    model["hooked"].register_forward_hook(lambda module, args, output: output + 1)
    pack_linear_layers(model)
    assert not any(isinstance(m, PackedLinear) for m in model.modules())
    inputs = torch.randn(3, 1, 8)
    model["attention"](inputs, inputs, inputs)
