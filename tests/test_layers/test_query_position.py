"""A query's box is encoded as in official DINO, in every family and width of mmdet."""

import pytest
import torch
from mmdet.models.layers import (
    DeformableDetrTransformerDecoder,
    DinoTransformerDecoder,
    coordinate_to_encoding,
)
from mmdet.models.layers.transformer.grounding_dino_layers import (
    GroundingDinoTransformerDecoder,
)
from torch import nn

from mmdet_lite.layers.query_position import keep_official_positions


def build(decoder_type, dims):
    attention = {"embed_dims": dims, "num_heads": 8, "batch_first": True}
    layer_cfg = {
        "self_attn_cfg": attention,
        "cross_attn_cfg": {**attention, "num_levels": 1},
        "ffn_cfg": {"embed_dims": dims, "feedforward_channels": 16},
    }
    if decoder_type is GroundingDinoTransformerDecoder:
        layer_cfg["cross_attn_text_cfg"] = attention
    return decoder_type(
        num_layers=1, layer_cfg=layer_cfg, post_norm_cfg=None, return_intermediate=True
    )


@pytest.mark.parametrize("dims", [256, 64])
@pytest.mark.parametrize(
    "decoder_type", [DinoTransformerDecoder, GroundingDinoTransformerDecoder]
)
def test_each_number_of_a_box_takes_half_the_width(decoder_type, dims):
    decoder = build(decoder_type, dims)
    keep_official_positions(decoder)
    received = []
    decoder.ref_point_head.layers[0].register_forward_pre_hook(
        lambda module, inputs: received.append(*inputs)
    )
    boxes = torch.rand(1, 5, 4)
    text = (
        {
            "memory_text": torch.rand(1, 3, dims),
            "text_attention_mask": torch.zeros(1, 3, dtype=torch.bool),
        }
        if decoder_type is GroundingDinoTransformerDecoder
        else {}
    )
    decoder(
        query=torch.rand(1, 5, dims),
        value=torch.rand(1, 16, dims),
        key_padding_mask=None,
        self_attn_mask=None,
        reference_points=boxes,
        spatial_shapes=torch.tensor([[4, 4]]),
        level_start_index=torch.tensor([0]),
        valid_ratios=torch.ones(1, 1, 2),
        reg_branches=nn.ModuleList([nn.Linear(dims, 4)]),
        **text,
    )
    (encoding,) = received
    assert encoding.equal(coordinate_to_encoding(boxes, num_feats=dims // 2))


def test_a_decoder_without_such_an_encoding_stays_as_it_is():
    decoder = build(DeformableDetrTransformerDecoder, 64)
    before = list(decoder.state_dict())
    keep_official_positions(decoder)
    assert list(decoder.state_dict()) == before
