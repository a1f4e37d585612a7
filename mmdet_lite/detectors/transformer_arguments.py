"""Check the config of a multi-scale DETR before any part of it is built."""

from typing import Any

from mmdet.registry import MODELS

from ..arguments import require_count, require_dict, require_known
from ..errors import ConfigError
from ..layers.arguments import (
    attention_class,
    check_attention_arguments,
    check_encoder_layer,
)
from ..type_names import class_of


def check_transformer(
    encoder_type: str,
    encoder: Any = None,
    decoder: Any = None,
    neck: Any = None,
    positional_encoding: Any = None,
    bbox_head: Any = None,
    num_feature_levels: int = 4,
    **kwargs,
) -> None:
    """Refuse parts that cannot be built, or not together.

    Args:
        encoder_type: ``type`` of the encoder where its config names none.
        encoder: config of the encoder.
        decoder: config of the decoder.
        neck: config of the neck, if there is one.
        positional_encoding: config of the positional encoding, if there is one.
        bbox_head: config of the box head, if there is one.
        num_feature_levels: of the detector.
        **kwargs: other arguments of the detector, which are not looked at.

    Raises:
        ConfigError: an argument is unknown, missing or out of its range, or the parts
            disagree on the number of levels or the embedding's width.
    """
    require_dict("model.encoder", encoder)
    require_dict("model.decoder", decoder)
    encoder_class = class_of({"type": encoder_type, **encoder}, MODELS)
    if isinstance(encoder_class, type):
        require_known(encoder_class, encoder.keys(), "model.encoder")
    check_encoder_layer(encoder.get("layer_cfg"))
    require_dict("model.decoder.layer_cfg", decoder.get("layer_cfg"))
    cross_attention = decoder["layer_cfg"].get("cross_attn_cfg")
    require_dict("model.decoder.layer_cfg.cross_attn_cfg", cross_attention)
    require_count("model.decoder.num_layers", decoder.get("num_layers"))
    attentions = {
        "encoder": encoder["layer_cfg"]["self_attn_cfg"],
        "decoder": cross_attention,
    }
    for attention in attentions.values():
        check_attention_arguments(attention_class(attention), attention)
    levels = {
        part: attention.get("num_levels", 4) for part, attention in attentions.items()
    }
    widths = {
        part: attention.get("embed_dims", 256) for part, attention in attentions.items()
    }
    levels["num_feature_levels"] = num_feature_levels
    if isinstance(neck, dict) and "in_channels" in neck:
        levels["neck"] = neck.get("num_outs") or len(neck["in_channels"])
        widths["neck"] = neck.get("out_channels", widths["encoder"])
    if isinstance(positional_encoding, dict) and "num_feats" in positional_encoding:
        widths["positional_encoding"] = 2 * positional_encoding["num_feats"]
    if isinstance(bbox_head, dict):
        widths["bbox_head"] = bbox_head.get("embed_dims", 256)
    _require_equal("number of levels", levels)
    _require_equal("width", widths)


def _require_equal(what: str, values: dict[str, Any]) -> None:
    if len(set(map(repr, values.values()))) > 1:
        listed = ", ".join(f"{part} has {value!r}" for part, value in values.items())
        raise ConfigError(f"the model's parts must agree on their {what}: {listed}")
