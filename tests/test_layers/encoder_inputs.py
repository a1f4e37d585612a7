"""A narrow encoder layer and the tokens of four small maps."""

import torch

EMBED_DIMS = 32
SPATIAL_SHAPES = torch.tensor([[8, 6], [4, 3], [2, 2], [1, 1]])
LEVEL_START_INDEX = torch.tensor([0, 48, 60, 64])
NUM_TOKENS = 65


def layer_cfg(attention):
    return {
        "self_attn_cfg": {
            "type": attention,
            "embed_dims": EMBED_DIMS,
            "num_heads": 4,
            "num_levels": 4,
            "dropout": 0.0,
        },
        "ffn_cfg": {
            "embed_dims": EMBED_DIMS,
            "feedforward_channels": 64,
            "ffn_drop": 0.0,
        },
    }


def encoder_inputs(batch=2):
    torch.manual_seed(1)
    return {
        "query": torch.randn(batch, NUM_TOKENS, EMBED_DIMS),
        "query_pos": torch.randn(batch, NUM_TOKENS, EMBED_DIMS),
        "key_padding_mask": None,
        "spatial_shapes": SPATIAL_SHAPES,
        "level_start_index": LEVEL_START_INDEX,
        "valid_ratios": torch.ones(batch, 4, 2),
    }
