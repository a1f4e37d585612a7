"""What mmdet's transformers do around the encoder, for images without padding.

mmdet's own code stops a graph that is being captured, or fixes the size of its image.
Of images that fill their batch no masks are needed, and without them it is a few lines
that do neither. The results are the same bits.
"""

from collections.abc import Sequence

import torch
from mmdet.structures import SampleList
from torch import Tensor, nn

from ..layers.cell_centres import cell_centres
from ..layers.level_shapes import level_shapes_tensor


def fill_their_batch(batch_data_samples: SampleList) -> bool:
    """Whether no image of a batch is padded."""
    return all(
        tuple(sample.img_shape[:2]) == tuple(sample.batch_input_shape)
        for sample in batch_data_samples
    )


def flatten_levels(
    maps: Sequence[Tensor], positional_encoding: nn.Module, level_embed: Tensor
) -> tuple[dict, dict]:
    """Do what ``DeformableDETR.pre_transformer`` does, without masks.

    Args:
        maps: for each level (batch, embed_dims, height, width).
        positional_encoding: of mmdet.
        level_embed: (num_levels, embed_dims).

    Returns:
        tuple: keyword arguments of the encoder, and those of the decoder that are known
        already.
    """
    spatial_shapes = level_shapes_tensor(
        [(map_.shape[2], map_.shape[3]) for map_ in maps], maps[0].device
    )
    sizes = spatial_shapes.prod(1)
    levels = {
        "spatial_shapes": spatial_shapes,
        "level_start_index": sizes.cumsum(0) - sizes,
        "valid_ratios": maps[0].new_ones(maps[0].shape[0], len(maps), 2),
    }
    positions = [
        positional_encoding(None, input=map_) + embed[:, None, None]
        for map_, embed in zip(maps, level_embed, strict=True)
    ]
    encoder_inputs = {
        "feat": _flatten(maps),
        "feat_mask": None,
        "feat_pos": _flatten(positions),
        **levels,
    }
    return encoder_inputs, {"memory_mask": None, **levels}


def propose_boxes(
    memory: Tensor, level_shapes: Sequence[tuple[int, int]]
) -> tuple[Tensor, Tensor]:
    """Do what ``DeformableDETR.gen_encoder_output_proposals`` begins with.

    Args:
        memory: (batch, num_tokens, embed_dims).
        level_shapes: (height, width) of each level.

    Returns:
        tuple: memory, zero where the token can propose no box, and proposals (batch,
        num_tokens, 4), (cx, cy, w, h) before the sigmoid, infinity there.
    """
    levels = []
    for level, (height, width) in enumerate(level_shapes):
        x, y = cell_centres(height, width, memory.device)
        side = torch.full_like(x, 0.05 * 2**level)
        levels.append(torch.stack([x / width, y / height, side, side], dim=-1))
    boxes = torch.cat(levels)
    invalid = ((boxes <= 0.01) | (boxes >= 0.99)).any(-1, keepdim=True)
    proposals = torch.log(boxes / (1 - boxes)).masked_fill(invalid, float("inf"))
    return memory.masked_fill(invalid, 0.0), proposals.expand(memory.shape[0], -1, -1)


def _flatten(maps: Sequence[Tensor]) -> Tensor:
    """(batch, dims, height, width) of each level -> (batch, num_tokens, dims)."""
    return torch.cat([map_.flatten(2).transpose(1, 2) for map_ in maps], dim=1)
