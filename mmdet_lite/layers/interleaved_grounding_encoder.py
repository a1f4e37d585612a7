"""The interleaved encoder of images and text, for Grounding DINO."""

from collections.abc import Sequence

import torch
from mmdet.models.layers.transformer import DetrTransformerEncoderLayer
from mmdet.models.layers.transformer.utils import get_text_sine_pos_embed
from mmdet.models.utils.vlfuse_helper import SingleScaleBiAttentionBlock
from mmdet.registry import MODELS
from mmdet.utils import ConfigType
from mmengine.model import ModuleList
from torch import Tensor

from .interleaved_encoder import LiteDetrTransformerEncoder


@MODELS.register_module()
class LiteGroundingDinoTransformerEncoder(LiteDetrTransformerEncoder):
    """Interleaved encoder ``HxLy-(A+1)xB`` of Grounding DINO.

    Takes the place of mmdet's ``GroundingDinoTransformerEncoder``, of which it accepts
    every argument. Lite DETR has no text; this is its rule carried over. Each of the
    layers is, in this order,

    1. the fusion of image and text, each attending to the other: in an H layer the
       high-level tokens and the text, in an F layer all tokens and the text;
    2. the text layer, in H and F layers alike;
    3. the H or F layer of :class:`LiteDetrTransformerEncoder`.

    So an H layer leaves the low-level tokens bit-identical: they neither read the text
    nor are read by it, and only serve the high-level tokens as keys and values.

    Fusion and text layers are mmdet's own. Their masks are exact for texts of different
    length too: an image of a batch gets what it would get alone.

    Args:
        text_layer_cfg (dict): config of every text layer, as mmdet's.
        fusion_layer_cfg (dict): config of every fusion layer, as mmdet's.
        **kwargs: as :class:`LiteDetrTransformerEncoder`; ``num_cp`` counts for the
            fusion layers as well.
    """

    def __init__(
        self, text_layer_cfg: ConfigType, fusion_layer_cfg: ConfigType, **kwargs
    ) -> None:
        self.text_layer_cfg = text_layer_cfg
        self.fusion_layer_cfg = fusion_layer_cfg
        super().__init__(**kwargs)

    def _init_layers(self) -> None:
        """Add a text layer and a fusion layer to each H and F layer."""
        super()._init_layers()
        self.text_layers = ModuleList(
            DetrTransformerEncoderLayer(**self.text_layer_cfg) for _ in self.layers
        )
        self.fusion_layers = ModuleList(
            SingleScaleBiAttentionBlock(**self.fusion_layer_cfg) for _ in self.layers
        )

    def forward(  # type: ignore[override]  # encodes the text as well
        self,
        query: Tensor,
        query_pos: Tensor,
        key_padding_mask: Tensor | None,
        spatial_shapes: Tensor | Sequence[tuple[int, int]],
        level_start_index: Tensor,
        valid_ratios: Tensor,
        memory_text: Tensor,
        text_attention_mask: Tensor,
        text_self_attention_masks: Tensor,
        position_ids: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Encode the tokens of all levels and the text.

        Args:
            query: as :meth:`LiteDetrTransformerEncoder.forward`, with ``query_pos``,
                ``key_padding_mask``, ``spatial_shapes``, ``level_start_index`` and
                ``valid_ratios``.
            memory_text: (batch, len_text, text_dims).
            text_attention_mask: (batch, len_text), True where the text is padding.
            text_self_attention_masks: (batch, len_text, len_text), True where a text
                token may attend to another.
            position_ids: (batch, len_text), integer, places of the text tokens in
                their phrase. Defaults to None: places in the whole text.

        Returns:
            tuple: the tokens, (batch, num_tokens, embed_dims), and the text,
            (batch, len_text, text_dims).
        """
        tokens = query
        shared = self.shared_inputs(
            query_pos, key_padding_mask, spatial_shapes, level_start_index, valid_ratios
        )
        batch, len_text, text_dims = memory_text.shape
        if position_ids is None:
            position_ids = torch.arange(len_text, device=memory_text.device)
            position_ids = position_ids.expand(batch, -1)
        text_pos = get_text_sine_pos_embed(
            position_ids.unsqueeze(-1), num_pos_feats=text_dims, exchange_xy=False
        )
        # Attention takes the masks of the heads image by image.
        text_mask = ~text_self_attention_masks.repeat_interleave(
            self.text_layers[0].self_attn.num_heads, dim=0
        )
        # The fusion adds its mask to the logits, after it made 0 very small: as a mask
        # of booleans it would let the padding through.
        is_text = (~text_attention_mask).float()

        for index, (kind, layer, text_layer, fusion_layer) in enumerate(
            zip(
                self.layer_kinds,
                self.layers,
                self.text_layers,
                self.fusion_layers,
                strict=True,
            )
        ):
            start = shared["num_low_tokens"] if kind == "H" else 0
            fused, memory_text = self.run(
                index,
                fusion_layer,
                tokens[:, start:],
                memory_text,
                attention_mask_v=None
                if key_padding_mask is None
                else key_padding_mask[:, start:],
                attention_mask_l=is_text,
            )
            tokens = torch.cat([tokens[:, :start], fused], dim=1)
            memory_text = text_layer(
                memory_text,
                query_pos=text_pos,
                key_padding_mask=None,
                attn_mask=text_mask,
            )
            tokens = self.run(index, layer, tokens, **shared)
        return tokens, memory_text
