"""Fused self-attention is attention: values, gradients, masks."""

import pytest
import torch
from mmcv.cnn.bricks.transformer import MultiheadAttention

from mmdet_lite.layers.self_attention import fuse_self_attention


@pytest.fixture
def attention():
    torch.manual_seed(0)
    return MultiheadAttention(32, 4, batch_first=True)


def masks(num_queries, num_denoising):
    """None, and what DINO's denoising queries hide from one another."""
    hidden = torch.zeros(num_queries, num_queries, dtype=torch.bool)
    hidden[num_denoising:, :num_denoising] = True
    return [None, hidden, torch.zeros(hidden.shape).masked_fill(hidden, -torch.inf)]


def run(attention, mask):
    """The output and the gradients of queries, positions and weights."""
    torch.manual_seed(1)
    query = torch.randn(2, 9, 32, requires_grad=True)
    position = torch.randn(2, 9, 32, requires_grad=True)
    output = attention(query, query_pos=position, key_pos=position, attn_mask=mask)
    leaves = [query, position, *attention.parameters()]
    return output, *torch.autograd.grad((output * torch.randn(32)).sum(), leaves)


@pytest.mark.parametrize("mask", masks(9, 4), ids=["no mask", "bool", "float"])
def test_values_and_gradients_stay(attention, mask):
    before = run(attention, mask)
    fuse_self_attention(attention)
    for new, old in zip(run(attention, mask), before, strict=True):
        torch.testing.assert_close(new, old)


def test_weights_are_not_computed_unless_asked_for(attention):
    fuse_self_attention(attention)
    fuse_self_attention(attention)
    inner, tokens = attention.attn, torch.randn(2, 5, 32)
    assert len(inner._forward_pre_hooks) == 1
    assert inner(tokens, tokens, tokens)[1] is None
    assert inner(tokens, tokens, tokens, need_weights=True)[1].shape == (5, 2, 2)


def test_autocast_takes_a_mask(attention):
    fuse_self_attention(attention)
    with torch.autocast("cpu", torch.bfloat16):
        output, *gradients = run(attention, masks(9, 4)[2])
    assert all(torch.isfinite(t).all() for t in (output, *gradients))
