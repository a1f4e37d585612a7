"""The names of a Lite-DINO in the official code and in mmdet: one table, both ways.

The table lists templates. What a model has of them (how many layers, which attention)
is its :class:`Layout`, read off the names of either side.
"""

import itertools
import re
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from mmdet.models.backbones import ResNet
from mmdet.models.backbones.resnet import Bottleneck
from torch import Tensor

from ...errors import ConfigError
from ..fit import BATCH_COUNTER

# (official, mmdet). {e}, {f}, {d}: encoder layer, F layer, decoder layer; {l}: feature
# level; {fc}: linear layer of a box head, every other module of mmdet's Sequential;
# {p}: weight, bias.
RULES = (
    ("backbone.0.body.{resnet}", "backbone.{resnet}"),
    ("input_proj.{l}.0.{p}", "neck.{conv}.conv.{p}"),
    ("input_proj.{l}.1.{p}", "neck.{conv}.gn.{p}"),
    ("transformer.level_embed", "level_embed"),
    ("transformer.tgt_embed.weight", "query_embedding.weight"),
    (
        "transformer.encoder.layers.{e}.self_attn.{encoder_attention}.{p}",
        "encoder.layers.{e}.self_attn.{encoder_attention}.{p}",
    ),
    ("transformer.encoder.layers.{e}.norm1.{p}", "encoder.layers.{e}.norms.0.{p}"),
    (
        "transformer.encoder.layers.{e}.linear1.{p}",
        "encoder.layers.{e}.ffn.layers.0.0.{p}",
    ),
    (
        "transformer.encoder.layers.{e}.linear2.{p}",
        "encoder.layers.{e}.ffn.layers.1.{p}",
    ),
    ("transformer.encoder.layers.{e}.norm2.{p}", "encoder.layers.{e}.norms.1.{p}"),
    (
        "transformer.encoder.layers.{f}.linear12.{p}",
        "encoder.layers.{f}.low_ffn.layers.0.0.{p}",
    ),
    (
        "transformer.encoder.layers.{f}.linear22.{p}",
        "encoder.layers.{f}.low_ffn.layers.1.{p}",
    ),
    ("transformer.encoder.layers.{f}.norm22.{p}", "encoder.layers.{f}.low_norm.{p}"),
    (
        "transformer.decoder.layers.{d}.self_attn.{self_attention}",
        "decoder.layers.{d}.self_attn.attn.{self_attention}",
    ),
    (
        "transformer.decoder.layers.{d}.cross_attn.{decoder_attention}.{p}",
        "decoder.layers.{d}.cross_attn.{decoder_attention}.{p}",
    ),
    # The official norms are numbered as attentions once followed each other: norm1
    # follows the cross-attention. Self-attention runs first in both codes.
    ("transformer.decoder.layers.{d}.norm1.{p}", "decoder.layers.{d}.norms.1.{p}"),
    ("transformer.decoder.layers.{d}.norm2.{p}", "decoder.layers.{d}.norms.0.{p}"),
    ("transformer.decoder.layers.{d}.norm3.{p}", "decoder.layers.{d}.norms.2.{p}"),
    (
        "transformer.decoder.layers.{d}.linear1.{p}",
        "decoder.layers.{d}.ffn.layers.0.0.{p}",
    ),
    (
        "transformer.decoder.layers.{d}.linear2.{p}",
        "decoder.layers.{d}.ffn.layers.1.{p}",
    ),
    ("transformer.decoder.norm.{p}", "decoder.norm.{p}"),
    (
        "transformer.decoder.ref_point_head.layers.{k}.{p}",
        "decoder.ref_point_head.layers.{k}.{p}",
    ),
    ("transformer.enc_output.{p}", "memory_trans_fc.{p}"),
    ("transformer.enc_output_norm.{p}", "memory_trans_norm.{p}"),
    ("transformer.enc_out_class_embed.{p}", "bbox_head.cls_branches.{proposals}.{p}"),
    (
        "transformer.enc_out_bbox_embed.layers.{fc}.{p}",
        "bbox_head.reg_branches.{proposals}.{module}.{p}",
    ),
    ("class_embed.{d}.{p}", "bbox_head.cls_branches.{d}.{p}"),
    ("bbox_embed.{d}.layers.{fc}.{p}", "bbox_head.reg_branches.{d}.{module}.{p}"),
    ("label_enc.weight", "dn_query_generator.label_embedding.weight"),
)

# (official, official): the decoder registers the heads a second time.
ALIASES = (
    ("transformer.decoder.class_embed.{d}.{p}", "class_embed.{d}.{p}"),
    (
        "transformer.decoder.bbox_embed.{d}.layers.{fc}.{p}",
        "bbox_embed.{d}.layers.{fc}.{p}",
    ),
)

# (official, official of the same shape): plain attention has it and never uses it.
UNUSED = (
    (
        "transformer.encoder.layers.{e}.self_attn.{unused_in_encoder}.{p}",
        "transformer.encoder.layers.{e}.self_attn.value_proj.{p}",
    ),
    (
        "transformer.decoder.layers.{d}.cross_attn.{unused_in_decoder}.{p}",
        "transformer.decoder.layers.{d}.cross_attn.value_proj.{p}",
    ),
)

# (official, mmdet) modules that have the same parameters, as regular expressions.
PARTS = (
    (r"", r""),
    (r"backbone\.0\.body", r"backbone"),
    (r"input_proj", r"neck"),
    (r"transformer", r""),
    (r"transformer\.encoder", r"encoder"),
    (r"transformer\.encoder\.layers\.(\d+)", r"encoder.layers.\1"),
    (r"transformer\.encoder\.layers\.(\d+)\.self_attn", r"encoder.layers.\1.self_attn"),
    (r"transformer\.decoder", r"decoder"),
    (r"transformer\.decoder\.ref_point_head", r"decoder.ref_point_head"),
    (r"transformer\.decoder\.layers\.(\d+)", r"decoder.layers.\1"),
    (
        r"transformer\.decoder\.layers\.(\d+)\.self_attn",
        r"decoder.layers.\1.self_attn.attn",
    ),
    (
        r"transformer\.decoder\.layers\.(\d+)\.cross_attn",
        r"decoder.layers.\1.cross_attn",
    ),
)


@dataclass(frozen=True)
class Layout:
    """What the names of a Lite-DINO depend on.

    A layout read off names expects at least one layer and level of everything, so that
    a part that is missing altogether is noticed.

    Args:
        layer_kinds (str): the encoder's layers, H or F each.
        num_decoder_layers (int): layers of the decoder.
        num_levels (int): feature levels.
        num_backbone_levels (int): those that are feature maps of the backbone.
        key_aware_encoder (bool): the encoder's attention is key-aware.
        key_aware_decoder (bool): the decoder's cross-attention is key-aware.
        resnet_names (tuple[str, ...]): names of the backbone's parameters and buffers,
            without those of BatchNorm's counters.
    """

    layer_kinds: str
    num_decoder_layers: int
    num_levels: int
    num_backbone_levels: int
    key_aware_encoder: bool
    key_aware_decoder: bool
    resnet_names: tuple[str, ...]

    @classmethod
    def of_official(cls, state_dict: Mapping[str, Tensor]) -> "Layout":
        """Read the layout off official names.

        Raises:
            ConfigError: the backbone is no ResNet that mmdet knows.
        """
        num_levels = _count(state_dict, r"input_proj\.(\d+)\.")
        # Levels beyond the backbone's come from 3x3 convolutions.
        extra = [
            level
            for level in range(num_levels)
            if state_dict.get(f"input_proj.{level}.0.weight", torch.empty(0)).shape[2:]
            == (3, 3)
        ]
        return cls(
            num_levels=num_levels,
            num_backbone_levels=min(extra, default=num_levels),
            resnet_names=_resnet_names(state_dict, "backbone.0.body."),
            num_decoder_layers=_count(
                state_dict,
                r"(?:transformer\.decoder\.)?(?:layers|class_embed)\.(\d+)\.",
            ),
            **_transformer_layout(state_dict, "transformer.", r"(?:linear|norm)\d2"),
        )

    @classmethod
    def of_mmdet(cls, state_dict: Mapping[str, Tensor]) -> "Layout":
        """Read the layout off mmdet's names.

        Raises:
            ConfigError: the backbone is no ResNet that mmdet knows.
        """
        num_backbone_levels = _count(state_dict, r"neck\.convs\.(\d+)\.")
        num_extra_levels = _count(state_dict, r"neck\.extra_convs\.(\d+)\.", least=0)
        return cls(
            num_levels=num_backbone_levels + num_extra_levels,
            num_backbone_levels=num_backbone_levels,
            resnet_names=_resnet_names(state_dict, "backbone."),
            num_decoder_layers=_count(state_dict, r"decoder\.layers\.(\d+)\."),
            **_transformer_layout(state_dict, "", r"low_(?:ffn|norm)"),
        )

    def names(self) -> dict[str, str]:
        """The official names of all that both codes have, with those in mmdet."""
        return self._expand(RULES)

    def aliases(self) -> dict[str, str]:
        """The official names of what is registered twice, with the first ones."""
        return self._expand(ALIASES)

    def unused(self) -> dict[str, str]:
        """The official names of what no one uses, with others of the same shapes."""
        return self._expand(UNUSED)

    def _expand(self, templates: Iterable[tuple[str, str]]) -> dict[str, str]:
        """Fill templates in with every value of their fields."""
        layers = range(len(self.layer_kinds))
        attention = ("sampling_offsets", "value_proj", "output_proj")
        weighing = {True: "query_proj", False: "attention_weights"}
        values: dict[str, Iterable[Any]] = {
            "p": ["weight", "bias"],
            "k": [0, 1],
            "e": layers,
            "f": [layer for layer in layers if self.layer_kinds[layer] == "F"],
            "d": range(self.num_decoder_layers),
            "resnet": self.resnet_names,
            "encoder_attention": [*attention, weighing[self.key_aware_encoder]],
            "decoder_attention": [*attention, weighing[self.key_aware_decoder]],
            "unused_in_encoder": [] if self.key_aware_encoder else ["query_proj"],
            "unused_in_decoder": [] if self.key_aware_decoder else ["query_proj"],
            "self_attention": [
                "in_proj_weight",
                "in_proj_bias",
                "out_proj.weight",
                "out_proj.bias",
            ],
            "l": range(self.num_levels),
            "fc": range(3),
        }
        expanded = {}
        for left, right in templates:
            fields = [
                field for _, field, _, _ in string.Formatter().parse(left) if field
            ]
            for choice in itertools.product(*(values[field] for field in fields)):
                filled = dict(zip(fields, choice, strict=True))
                # What a name of mmdet spells another way.
                filled["proposals"] = self.num_decoder_layers
                filled["module"] = 2 * filled.get("fc", 0)
                filled["conv"] = self._neck_conv(filled.get("l", 0))
                expanded[left.format(**filled)] = right.format(**filled)
        return expanded

    def _neck_conv(self, level: int) -> str:
        extra = level - self.num_backbone_levels
        return f"convs.{level}" if extra < 0 else f"extra_convs.{extra}"


def counterpart_of(official_module: str) -> str:
    """Name in mmdet of a module of the official code that converts by itself.

    Raises:
        ConfigError: there is no such module.
    """
    for official, mmdet in PARTS:
        match = re.fullmatch(official, official_module)
        if match:
            return match.expand(mmdet)
    known = ", ".join(
        official.replace("\\", "").replace("(d+)", "0") for official, _ in PARTS[1:]
    )
    raise ConfigError(
        f"{official_module!r} is no module that converts by itself; these do: {known}"
    )


def _count(names: Iterable[str], pattern: str, least: int = 1) -> int:
    """One more than the largest index in the names that begin with a pattern."""
    matches = (re.match(pattern, name) for name in names)
    return max((int(match[1]) + 1 for match in matches if match), default=least)


def _transformer_layout(
    state_dict: Mapping[str, Tensor], root: str, low_level_module: str
) -> dict:
    """Layer kinds and attention, which both codes tell by the same names."""
    root = re.escape(root)
    layers = rf"{root}encoder\.layers\.(\d+)\."
    full = {
        int(match[1])
        for match in (re.match(layers + low_level_module, name) for name in state_dict)
        if match
    }
    plain = {
        match[1]
        for match in (
            re.match(rf"{root}(encoder|decoder)\..*\.attention_weights\.", name)
            for name in state_dict
        )
        if match
    }
    return {
        "layer_kinds": "".join(
            "F" if layer in full else "H" for layer in range(_count(state_dict, layers))
        ),
        "key_aware_encoder": "encoder" not in plain,
        "key_aware_decoder": "decoder" not in plain,
    }


def _resnet_names(names: Iterable[str], root: str) -> tuple[str, ...]:
    """All names of the ResNet that the given names belong to."""
    names = [name.removeprefix(root) for name in names if name.startswith(root)]
    if not names:
        return ("conv1.weight",)
    depth = resnet_depth(names)
    with torch.device("meta"):
        whole = ResNet(depth).state_dict()
    return tuple(name for name in whole if not name.endswith(BATCH_COUNTER))


def resnet_depth(names: Iterable[str]) -> int:
    """Depth of a ResNet by the names of its parameters.

    Raises:
        ConfigError: mmdet has no ResNet with these blocks.
    """
    names = list(names)
    blocks = tuple(_count(names, rf"layer{stage}\.(\d+)\.") for stage in range(1, 5))
    bottleneck = any(re.match(r"layer1\.0\.conv3\.", name) for name in names)
    for depth, (block, stage_blocks) in ResNet.arch_settings.items():
        if stage_blocks == blocks and issubclass(block, Bottleneck) == bottleneck:
            return depth
    raise ConfigError(
        f"the backbone is no ResNet that mmdet knows: its stages have {blocks} blocks "
        f"{'with' if bottleneck else 'without'} a bottleneck"
    )
