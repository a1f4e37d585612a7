"""The interleaved multi-scale encoder (Lite DETR, sections 4.2 and 4.3)."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from mmcv.cnn import build_norm_layer
from mmcv.cnn.bricks.transformer import FFN
from mmdet.models.layers.transformer import (
    DeformableDetrTransformerEncoder,
    DetrTransformerEncoderLayer,
)
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, OptConfigType
from mmengine.model import ModuleList
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..arguments import require_count, require_dict, require_flag
from ..errors import ConfigError
from .arguments import (
    attention_class,
    check_attention_arguments,
    check_encoder_layer,
)
from .cell_centres import cell_centres
from .level_shapes import known_level_shapes, level_shapes_tensor


def layer_sequence(num_high_updates: int, num_blocks: int) -> str:
    """Spell ``(A+1)xB`` as its layers: ``layer_sequence(2, 3)`` is ``'HFHFHF'``.

    An H layer updates the high-level tokens, an F layer all tokens. The F layer that
    ends a block is also the last of its A updates of the high-level tokens.

    Args:
        num_high_updates: A, updates of the high-level tokens in a block.
        num_blocks: B, number of blocks.

    Raises:
        ConfigError: an argument is not a positive integer.
    """
    for name, number in (
        ("num_high_updates", num_high_updates),
        ("num_blocks", num_blocks),
    ):
        require_count(name, number)
    return ("H" * (num_high_updates - 1) + "F") * num_blocks


class HighLevelEncoderLayer(DetrTransformerEncoderLayer):
    """H layer: updates the high-level tokens, which look at the tokens of all levels.

    Arguments as mmdet's ``DetrTransformerEncoderLayer``; ``self_attn_cfg`` may name
    a ``type``, by default ``KeyAwareDeformableAttention``.
    """

    self_attn: Any  # an attention module of the registry

    def _init_layers(self) -> None:
        """Build the attention from the registry, then the FFN and two norms."""
        self.self_attn = build_deformable_attention(self.self_attn_cfg)
        self.embed_dims = self.self_attn.embed_dims
        self.ffn = FFN(**self.ffn_cfg)
        self.norms = ModuleList(
            build_norm_layer(self.norm_cfg, self.embed_dims)[1] for _ in range(2)
        )

    def forward(
        self,
        tokens: Tensor,
        query_pos: Tensor,
        reference_points: Tensor,
        num_low_tokens: int,
        **attention_kwargs,
    ) -> Tensor:
        """Update the high-level tokens; the low-level ones leave bit-identical.

        Args:
            tokens: (batch, num_tokens, embed_dims), low-level tokens first.
            query_pos: (batch, num_tokens, embed_dims), position and level embedding,
                added to the queries only.
            reference_points: (batch, num_tokens, num_levels, 2).
            num_low_tokens: how many of the tokens are low-level.
            **attention_kwargs: ``key_padding_mask``, ``spatial_shapes`` and
                ``level_start_index`` of all tokens.

        Returns:
            Tensor: (batch, num_tokens, embed_dims).
        """
        high = self.norms[0](
            self.self_attn(
                query=tokens[:, num_low_tokens:],
                value=tokens,
                query_pos=query_pos[:, num_low_tokens:],
                reference_points=reference_points[:, num_low_tokens:],
                **attention_kwargs,
            )
        )
        high = self.norms[1](self.ffn(high))
        return torch.cat([tokens[:, :num_low_tokens], high], dim=1)


class NoFusionHighLevelEncoderLayer(HighLevelEncoderLayer):
    """H layer whose high-level tokens look at those of the high levels only.

    The paper's ablation: an H layer without iterative cross-scale fusion (section 4.2).
    Its attention has as many levels as there are high ones.
    """

    def forward(  # type: ignore[override]  # names what it cuts to the high levels
        self,
        tokens: Tensor,
        query_pos: Tensor,
        reference_points: Tensor,
        num_low_tokens: int,
        key_padding_mask: Tensor | None,
        spatial_shapes: Tensor,
        level_start_index: Tensor,
        **attention_kwargs,
    ) -> Tensor:
        """As :class:`HighLevelEncoderLayer`, on the high-level tokens alone."""
        high_levels = slice(-self.self_attn.num_levels, None)
        high_tokens = slice(num_low_tokens, None)
        high = super().forward(
            tokens[:, high_tokens],
            query_pos[:, high_tokens],
            reference_points[:, high_tokens, high_levels],
            num_low_tokens=0,
            key_padding_mask=None
            if key_padding_mask is None
            else key_padding_mask[:, high_tokens],
            spatial_shapes=spatial_shapes[high_levels],
            level_start_index=level_start_index[high_levels] - num_low_tokens,
            **attention_kwargs,
        )
        return torch.cat([tokens[:, :num_low_tokens], high], dim=1)


class FullEncoderLayer(HighLevelEncoderLayer):
    """F layer: updates all tokens, the low-level ones through a small FFN.

    Args:
        low_ffn_channels (int, optional): hidden width of the low-level tokens' FFN.
            Defaults to None, which means ``embed_dims``, as the paper has it.
        **kwargs: as :class:`HighLevelEncoderLayer`.
    """

    def __init__(self, low_ffn_channels: int | None = None, **kwargs) -> None:
        self.low_ffn_channels = low_ffn_channels
        super().__init__(**kwargs)

    def _init_layers(self) -> None:
        """Add the low-level tokens' own FFN and norm."""
        super()._init_layers()
        channels = self.low_ffn_channels or self.embed_dims
        self.low_ffn = FFN(**{**self.ffn_cfg, "feedforward_channels": channels})
        self.low_norm = build_norm_layer(self.norm_cfg, self.embed_dims)[1]

    def forward(
        self,
        tokens: Tensor,
        query_pos: Tensor,
        reference_points: Tensor,
        num_low_tokens: int,
        **attention_kwargs,
    ) -> Tensor:
        """Update all tokens; arguments and result as :class:`HighLevelEncoderLayer`."""
        tokens = self.norms[0](
            self.self_attn(
                query=tokens,
                value=tokens,
                query_pos=query_pos,
                reference_points=reference_points,
                **attention_kwargs,
            )
        )
        low, high = tokens[:, :num_low_tokens], tokens[:, num_low_tokens:]
        low = self.low_norm(self.low_ffn(low))
        high = self.norms[1](self.ffn(high))
        return torch.cat([low, high], dim=1)


@MODELS.register_module()
class LiteDetrTransformerEncoder(DeformableDetrTransformerEncoder):
    """Interleaved encoder ``HxLy-(A+1)xB`` of Lite DETR.

    Takes the place of mmdet's ``DeformableDetrTransformerEncoder``, of which it accepts
    every argument. By default it is H3L1-(2+1)x3 with key-aware attention.

    Args:
        layer_cfg (dict): config of every layer, as mmdet's. ``self_attn_cfg`` may name
            a ``type``: ``KeyAwareDeformableAttention`` (default) or
            ``MultiScaleDeformableAttention``.
        num_layers (int, optional): checked against the number of layers that the two
            arguments below give. Defaults to None, which means that number.
        num_high_levels (int): x of ``HxLy``, the levels of low resolution that are
            updated often; the y others are updated once a block. Defaults to 3.
        num_high_updates (int): A, updates of the high levels in a block. Defaults to 2.
        num_blocks (int): B, number of blocks. Defaults to 3.
        low_ffn_channels (int, optional): hidden width of the low-level tokens' FFN.
            Defaults to None, which means the embedding width.
        iterative_fusion (bool): high-level tokens look at the tokens of all levels in
            H layers too, as the paper has it. Defaults to True; False, its ablation,
            leaves the low levels to the F layers.
        num_cp (int): the first ``num_cp`` layers recompute their activations in the
            backward pass instead of keeping them. Defaults to -1, none.
        init_cfg (dict, optional): as mmengine's ``BaseModule``.

    Raises:
        ConfigError: ``num_layers`` is not A·B, a count is not a positive integer, part
            of ``layer_cfg`` is missing or does not fit, or ``num_high_levels`` leaves
            no high or no low level.
    """

    def __init__(
        self,
        layer_cfg: ConfigType,
        num_layers: int | None = None,
        num_high_levels: int = 3,
        num_high_updates: int = 2,
        num_blocks: int = 3,
        low_ffn_channels: int | None = None,
        iterative_fusion: bool = True,
        num_cp: int = -1,
        init_cfg: OptConfigType = None,
    ) -> None:
        self.layer_kinds = layer_sequence(num_high_updates, num_blocks)
        if num_layers is None:
            num_layers = len(self.layer_kinds)
        require_count("num_layers", num_layers)
        require_count("num_high_levels", num_high_levels, least=0)
        if low_ffn_channels is not None:
            require_count("low_ffn_channels", low_ffn_channels)
        require_flag("iterative_fusion", iterative_fusion)
        require_count("num_cp", num_cp, least=-1)
        check_encoder_layer(layer_cfg)
        if num_layers != len(self.layer_kinds):
            raise ConfigError(
                f"num_high_updates ({num_high_updates}) times num_blocks "
                f"({num_blocks}) gives {len(self.layer_kinds)} encoder layers, but "
                f"num_layers is {num_layers}"
            )
        self.num_high_levels = num_high_levels
        self.low_ffn_channels = low_ffn_channels
        self.iterative_fusion = iterative_fusion
        super().__init__(
            num_layers=num_layers, layer_cfg=layer_cfg, num_cp=num_cp, init_cfg=init_cfg
        )

    def _init_layers(self) -> None:
        """Build the H and F layers in the order of ``layer_kinds``."""
        full_layer = partial(
            FullEncoderLayer, low_ffn_channels=self.low_ffn_channels, **self.layer_cfg
        )
        if self.iterative_fusion:
            high_layer = partial(HighLevelEncoderLayer, **self.layer_cfg)
        else:
            attn_cfg = {
                **self.layer_cfg["self_attn_cfg"],
                "num_levels": self.num_high_levels,
            }
            high_layer = partial(
                NoFusionHighLevelEncoderLayer,
                **{**self.layer_cfg, "self_attn_cfg": attn_cfg},
            )
        builders = {"H": high_layer, "F": full_layer}
        self.layers = ModuleList(builders[kind]() for kind in self.layer_kinds)
        # The last layer is an F layer, which looks at all levels.
        attention = self.layers[-1].self_attn
        self.embed_dims = attention.embed_dims
        if attention.num_levels < 2:
            raise ConfigError(
                "the encoder needs two feature levels or more, high and low ones, but "
                f"self_attn_cfg has num_levels={attention.num_levels}"
            )
        if not 0 < self.num_high_levels < attention.num_levels:
            raise ConfigError(
                f"num_high_levels must be between 1 and {attention.num_levels - 1} for "
                f"{attention.num_levels} feature levels, so that there are high and "
                f"low levels, but got {self.num_high_levels}"
            )

    def forward(
        self,
        query: Tensor,
        query_pos: Tensor,
        key_padding_mask: Tensor | None,
        spatial_shapes: Tensor | Sequence[tuple[int, int]],
        level_start_index: Tensor,
        valid_ratios: Tensor,
        **kwargs,
    ) -> Tensor:
        """Encode the tokens of all levels.

        Given ``spatial_shapes`` as Python numbers it compiles without a graph break
        and a GPU never waits; from a tensor they have to be read first.

        Under a processor's autocast without gradients the tokens stay in its dtype from
        layer to layer, where training keeps them in float32.

        Args:
            query: (batch, num_tokens, embed_dims), the levels one after the other from
                high to low resolution.
            query_pos: (batch, num_tokens, embed_dims), position and level embedding.
            key_padding_mask: (batch, num_tokens), True where a token is padding, or
                None.
            spatial_shapes: (num_levels, 2), integers, (height, width).
            level_start_index: (num_levels,), integer.
            valid_ratios: (batch, num_levels, 2), (width, height) of the image as
                a part of the padded map.
            **kwargs: passed to the attention.

        Returns:
            Tensor: (batch, num_tokens, embed_dims).
        """
        tokens = query
        device_type = query.device.type
        # Of all that is not a matrix product, converting back and forth takes most. A
        # GPU's autocast does it anyway: there each norm gives float32.
        if (
            device_type == "cpu"
            and torch.is_autocast_enabled(device_type)
            and not torch.is_grad_enabled()
        ):
            dtype = torch.get_autocast_dtype(device_type)
            tokens, query_pos = query.to(dtype), query_pos.to(dtype)
        shared = self.shared_inputs(
            query_pos, key_padding_mask, spatial_shapes, level_start_index, valid_ratios
        )
        for index, layer in enumerate(self.layers):
            tokens = self.run(index, layer, tokens, **shared, **kwargs)
        return tokens.to(query.dtype)

    def shared_inputs(
        self,
        query_pos: Tensor,
        key_padding_mask: Tensor | None,
        spatial_shapes: Tensor | Sequence[tuple[int, int]],
        level_start_index: Tensor,
        valid_ratios: Tensor,
    ) -> dict:
        """What every H and F layer gets besides the tokens.

        Arguments as :meth:`forward`.

        Returns:
            dict: keyword arguments of :meth:`HighLevelEncoderLayer.forward`.
        """
        device = query_pos.device
        level_shapes: Sequence[tuple[int, int]]
        if torch.is_tensor(spatial_shapes):
            level_shapes = known_level_shapes() or spatial_shapes.tolist()
            shapes_tensor = spatial_shapes
        else:
            level_shapes = spatial_shapes
            shapes_tensor = level_shapes_tensor(spatial_shapes, device)
        low_shapes = level_shapes[: -self.num_high_levels]
        return {
            "query_pos": query_pos,
            "reference_points": self.get_encoder_reference_points(
                level_shapes, valid_ratios, device=device
            ),
            "num_low_tokens": sum(height * width for height, width in low_shapes),
            "key_padding_mask": key_padding_mask,
            "spatial_shapes": shapes_tensor,
            "level_start_index": level_start_index,
        }

    @staticmethod
    def get_encoder_reference_points(
        spatial_shapes: Sequence[tuple[int, int]],
        valid_ratios: Tensor,
        device: torch.device | str,
    ) -> Tensor:
        """Where tokens look by themselves, as mmdet has it, for open sizes too.

        Args:
            spatial_shapes: (height, width) of each level.
            valid_ratios: (batch, num_levels, 2), (width, height).
            device: where to put them.

        Returns:
            Tensor: (batch, num_tokens, num_levels, 2), (x, y), normalised; float32, or
            float64 with ``valid_ratios``.
        """
        # In a map's dtype, as mmdet's are without padding, half precision would round
        # the widths of maps to cells next to them.
        valid_ratios = valid_ratios.to(
            torch.promote_types(valid_ratios.dtype, torch.float32)
        )
        points = []
        for level, (height, width) in enumerate(spatial_shapes):
            x, y = cell_centres(height, width, device)
            ratio_x, ratio_y = valid_ratios[:, level, :, None].unbind(1)
            points.append(
                torch.stack([x / (ratio_x * width), y / (ratio_y * height)], dim=-1)
            )
        return torch.cat(points, dim=1)[:, :, None] * valid_ratios[:, None]

    def run(self, index: int, module: torch.nn.Module, *args, **kwargs):
        """Call a module of layer ``index``, to be recomputed if ``num_cp`` says so."""
        if index < self.num_cp and torch.is_grad_enabled():
            return checkpoint(module, *args, use_reentrant=False, **kwargs)
        return module(*args, **kwargs)


def build_deformable_attention(cfg: ConfigType) -> torch.nn.Module:
    """Build deformable attention by its ``type``, key-aware where none is named.

    Raises:
        ConfigError: the type is not registered, or an argument does not fit it.
    """
    require_dict("the config of an attention", cfg)
    attention = attention_class(cfg)
    check_attention_arguments(attention, cfg)
    return MODELS.build({**cfg, "type": attention})
