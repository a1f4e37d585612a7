"""Which Lite-DINO a state dict holds, and which configs build it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from torch import Tensor

from ...layers.interleaved_encoder import layer_sequence
from ...type_names import type_name
from ..fit import BATCH_COUNTER
from .names import Layout, resnet_depth


@dataclass(frozen=True)
class LiteVariant:
    """What a Lite-DINO's weights tell of it.

    Args:
        layer_kinds (str): the encoder's layers, H or F each.
        num_high_levels (int, optional): x of ``HxLy``. The weights of all splits have
            the same names and shapes, so that it has to come from elsewhere; None
            where it is not known.
        key_aware_encoder (bool): the encoder's attention is key-aware.
        key_aware_decoder (bool): the decoder's cross-attention is key-aware.
        num_levels (int): feature levels.
        num_samples (int): sampling points of a query on each level, heads times points
            of a head (32 = 8 x 4 in all configs; the weights tell the product only).
        num_decoder_layers (int): layers of the decoder.
        num_queries (int): matching queries.
        num_classes (int): classes of the heads.
        embed_dims (int): width of the transformer.
        backbone_depth (int): depth of the ResNet.
    """

    layer_kinds: str
    num_high_levels: int | None
    key_aware_encoder: bool
    key_aware_decoder: bool
    num_levels: int
    num_samples: int
    num_decoder_layers: int
    num_queries: int
    num_classes: int
    embed_dims: int
    backbone_depth: int

    @property
    def blocks(self) -> tuple[int, int] | None:
        """A and B of ``(A+1)xB``; None if the layers are not interleaved like that."""
        num_blocks = self.layer_kinds.count("F")
        if not num_blocks:
            return None
        num_high_updates = len(self.layer_kinds) // num_blocks
        if layer_sequence(num_high_updates, num_blocks) != self.layer_kinds:
            return None
        return num_high_updates, num_blocks

    def __str__(self) -> str:
        high = self.num_high_levels
        levels = f"H{high}L{self.num_levels - high}" if high else "H?L?"
        name = "({}+1)x{}".format(*self.blocks) if self.blocks else self.layer_kinds
        attention = ["plain", "key-aware"]
        return (
            f"Lite-DINO {levels}-{name}, ResNet-{self.backbone_depth}, "
            f"{self.num_levels} levels x {self.num_samples} samples (heads x points), "
            f"{attention[self.key_aware_encoder]} encoder, {self.num_decoder_layers} "
            f"{attention[self.key_aware_decoder]} decoder layers, "
            f"{self.num_queries} queries, {self.num_classes} classes, "
            f"{self.embed_dims} channels"
        )


def recognise_variant(
    state_dict: Mapping[str, Tensor], num_high_levels: int | None = None
) -> LiteVariant:
    """Read the variant off the weights of a whole Lite-DINO.

    Args:
        state_dict: weights by mmdet's names, such as those of
            :func:`~mmdet_lite.checkpoint.official.conversion.convert_official`.
        num_high_levels: x of ``HxLy``, which the weights do not tell.
    """
    layout = Layout.of_mmdet(state_dict)
    level_embed = state_dict["level_embed"]
    offsets = state_dict["encoder.layers.0.self_attn.sampling_offsets.weight"]
    return LiteVariant(
        layer_kinds=layout.layer_kinds,
        num_high_levels=num_high_levels,
        key_aware_encoder=layout.key_aware_encoder,
        key_aware_decoder=layout.key_aware_decoder,
        num_levels=layout.num_levels,
        num_samples=len(offsets) // (2 * len(level_embed)),
        num_decoder_layers=layout.num_decoder_layers,
        num_queries=len(state_dict["query_embedding.weight"]),
        num_classes=len(state_dict["bbox_head.cls_branches.0.bias"]),
        embed_dims=level_embed.shape[1],
        backbone_depth=resnet_depth(
            name.removeprefix("backbone.")
            for name in state_dict
            if name.startswith("backbone.")
        ),
    )


def fitting_configs(
    state_dict: Mapping[str, Tensor],
    configs: Iterable[Path],
    num_high_levels: int | None = None,
) -> list[Path]:
    """The configs whose model has exactly these weights, for any number of classes.

    Args:
        state_dict: weights by mmdet's names.
        configs: paths of configs; those of other models than ``LiteDINO`` on a ResNet
            do not fit.
        num_high_levels: x of ``HxLy``, which the weights do not tell; None leaves
            every split.
    """
    shapes = _shapes_of(state_dict)
    num_classes = len(state_dict["bbox_head.cls_branches.0.bias"])
    num_queries = len(state_dict["query_embedding.weight"])
    fitting = []
    for path in configs:
        model_cfg = Config.fromfile(path).model
        if type_name(model_cfg) != "LiteDINO" or model_cfg.num_queries != num_queries:
            continue
        # Other backbones may not even be built without memory: Swin reads numbers.
        if type_name(model_cfg.backbone) != "ResNet":
            continue
        model_cfg.bbox_head.num_classes = num_classes
        with torch.device("meta"):
            model = MODELS.build(model_cfg)
        if num_high_levels not in (None, model.encoder.num_high_levels):
            continue
        if _shapes_of(model.state_dict()) == shapes:
            fitting.append(path)
    return fitting


def _shapes_of(state_dict: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {
        name: tensor.shape
        for name, tensor in state_dict.items()
        if not name.endswith(BATCH_COUNTER)
    }
