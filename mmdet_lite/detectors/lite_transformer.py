"""How a DETR of mmdet becomes its Lite variant: the encoder swapped, KDA inside."""

from mmdet.registry import MODELS
from mmdet.utils import ConfigType
from torch import Tensor

from ..checkpoint.attention_kind import refuse_other_attention
from ..layers.interleaved_encoder import build_deformable_attention


class LiteTransformerMixin:
    """Gives a multi-scale DETR of mmdet the encoder and attention of Lite DETR.

    Put it before the detector that it changes::

        @MODELS.register_module()
        class LiteDINO(LiteTransformerMixin, DINO): ...

    ``encoder`` then takes the arguments of
    :class:`~mmdet_lite.layers.LiteDetrTransformerEncoder`, and ``self_attn_cfg`` and
    ``cross_attn_cfg`` may name the attention's ``type``. Both are key-aware where none
    is named; ``type='MultiScaleDeformableAttention'`` restores the plain one.
    """

    def _init_layers(self) -> None:
        """Let mmdet build the transformer, then replace encoder and cross-attention.

        mmdet's hook names its classes in code. It gets a one-layer encoder to read the
        width from, and a decoder whose cross-attention is replaced right after.
        """
        encoder_cfg, decoder_cfg = self.encoder, self.decoder
        decoder_layer_cfg = decoder_cfg["layer_cfg"]
        cross_attn_cfg = decoder_layer_cfg["cross_attn_cfg"]
        encoder_layer_cfg = encoder_cfg["layer_cfg"]
        self.encoder = {
            "num_layers": 1,
            "layer_cfg": {
                **encoder_layer_cfg,
                "self_attn_cfg": _for_plain_attention(
                    encoder_layer_cfg["self_attn_cfg"]
                ),
            },
        }
        self.decoder = {
            **decoder_cfg,
            "layer_cfg": {
                **decoder_layer_cfg,
                "cross_attn_cfg": _for_plain_attention(cross_attn_cfg),
            },
        }
        super()._init_layers()
        self.encoder = MODELS.build(
            {"type": "LiteDetrTransformerEncoder", **encoder_cfg}
        )
        for layer in self.decoder.layers:
            layer.cross_attn = build_deformable_attention(
                {"batch_first": True, **cross_attn_cfg}
            )
        self.register_load_state_dict_pre_hook(refuse_other_attention)

    def pre_transformer(
        self, mlvl_feats: tuple[Tensor, ...], *args, **kwargs
    ) -> tuple[dict, dict]:
        """Prepare as mmdet does, with the sizes of the levels as Python numbers.

        mmdet reads them back out of a tensor wherever it needs a number, and each time
        a GPU has to finish first and a graph that is being captured breaks.

        Args:
            mlvl_feats: for each level (batch, embed_dims, height, width).
            *args: as mmdet's hook, with **kwargs.

        Returns:
            tuple: keyword arguments of ``forward_encoder`` and of ``forward_decoder``.
        """
        encoder_inputs, decoder_inputs = super().pre_transformer(
            mlvl_feats, *args, **kwargs
        )
        encoder_inputs["spatial_shapes"] = tuple(
            (feat.shape[2], feat.shape[3]) for feat in mlvl_feats
        )
        return encoder_inputs, decoder_inputs


def _for_plain_attention(attn_cfg: ConfigType) -> ConfigType:
    """Leave out what mmcv's ``MultiScaleDeformableAttention`` does not take."""
    ours = ("type", "proj_key", "backend")
    return {name: value for name, value in attn_cfg.items() if name not in ours}
