"""What is recorded of an attention is what it did."""

import pytest
import torch
from mmcv.ops import MultiScaleDeformableAttention
from mmdet.registry import MODELS
from torch import nn

from mmdet_lite.layers import KeyAwareDeformableAttention
from mmdet_lite.ops import multi_scale_deformable_attention
from mmdet_lite.visualization.attention_record import record_attention

SHAPES = torch.tensor([[6, 8], [3, 4]])


def call(attention: nn.Module) -> tuple[torch.Tensor, dict]:
    num_tokens = int(SHAPES.prod(-1).sum())
    inputs = {
        "query": torch.randn(2, 5, 32),
        "value": torch.randn(2, num_tokens, 32),
        "query_pos": torch.randn(2, 5, 32),
        "reference_points": torch.rand(2, 5, 2, 2),
        "spatial_shapes": SHAPES,
        "level_start_index": torch.tensor([0, 48]),
        "key_padding_mask": torch.rand(2, num_tokens) < 0.2,
    }
    return attention(**inputs), inputs


@pytest.mark.parametrize(
    "attention",
    [
        KeyAwareDeformableAttention,
        MultiScaleDeformableAttention,
        lambda **kwargs: KeyAwareDeformableAttention(proj_key=True, **kwargs),
        lambda **kwargs: KeyAwareDeformableAttention(predict_logits=True, **kwargs),
    ],
    ids=["key-aware", "plain", "key-aware with keys of its own", "predicted logits"],
)
def test_recorded_weights_and_locations_give_the_update(attention):
    torch.manual_seed(0)
    attention = attention(
        embed_dims=32, num_heads=4, num_levels=2, dropout=0.0, batch_first=True
    )
    nn.init.normal_(attention.sampling_offsets.weight, std=0.05)
    # Some start from zeros, and weigh all alike.
    for name in ("attention_weights", "query_proj"):
        if getattr(attention, name, None) is not None:
            nn.init.normal_(getattr(attention, name).weight, std=0.3)
    model = nn.ModuleDict({"attention": attention})
    with record_attention(model) as records:
        output, inputs = call(attention)
    (record,) = records["attention"]
    value = attention.value_proj(inputs["value"])
    value = value.masked_fill(inputs["key_padding_mask"][..., None], 0)
    again = multi_scale_deformable_attention(
        value.unflatten(-1, (4, -1)),
        SHAPES,
        inputs["level_start_index"],
        record.sampling_locations,
        record.attention_weights,
        backend="reference",
    )
    torch.testing.assert_close(record.update, attention.output_proj(again))
    torch.testing.assert_close(record.identity + record.update, output)


def test_nothing_is_left_after_the_block(small_config):
    cfg = small_config("lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py")
    model = MODELS.build(cfg.model)
    with record_attention(model) as records:
        pass
    assert "encoder.layers.0.self_attn" in records
    assert "decoder.layers.1.cross_attn" in records
    assert not any(module._forward_hooks for module in model.modules())


def test_a_model_without_deformable_attention_is_refused():
    with (
        pytest.raises(ValueError, match="Linear has no deformable attention"),
        record_attention(nn.Linear(2, 2)),
    ):
        pass
