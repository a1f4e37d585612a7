"""Check the arguments of encoder layers and their attention before they are built."""

from typing import Any

from mmcv.cnn.bricks.transformer import FFN
from mmcv.ops import MultiScaleDeformableAttention
from mmdet.models.layers.transformer import DetrTransformerEncoderLayer
from mmdet.registry import MODELS

from ..arguments import (
    arguments_of,
    require_count,
    require_dict,
    require_flag,
    require_known,
    require_number,
)
from ..errors import ConfigError
from ..ops.dispatch import all_backends
from ..type_names import class_of

_COUNTS = ("embed_dims", "num_heads", "num_levels", "num_points", "im2col_step")
_FLAGS = ("batch_first", "proj_key", "uniform_start", "predict_logits")


def attention_class(cfg: dict[str, Any]) -> type:
    """The class of attention that a config names, key-aware where it names none.

    mmdet's configs name no type, because mmdet's layers know only one.

    Args:
        cfg: of the attention.

    Raises:
        ConfigError: the type is not registered.
    """
    cfg = {"type": "KeyAwareDeformableAttention", **cfg}
    attention = class_of(cfg, MODELS)
    if not isinstance(attention, type):
        raise ConfigError(f"no attention is registered as {cfg['type']!r}")
    return attention


def check_attention_arguments(attention: type, given: dict[str, Any]) -> None:
    """Refuse arguments that no deformable attention can be built with.

    Args:
        attention: its class, ``MultiScaleDeformableAttention`` or one derived from it;
            others have arguments of their own and are left alone.
        given: its arguments by name; ``type`` among them is passed over.

    Raises:
        ConfigError: an argument is unknown or out of its range; the message names it.
    """
    if not issubclass(attention, MultiScaleDeformableAttention):
        return
    require_known(attention, given.keys(), attention.__name__)
    defaults = {
        name: parameter.default for name, parameter in arguments_of(attention).items()
    }
    values = {**defaults, **given}
    for name in _COUNTS:
        require_count(name, values[name])
    for name in _FLAGS:
        if name in values:
            require_flag(name, values[name])
    require_number("dropout", values["dropout"], most=1)
    require_number("value_proj_ratio", values["value_proj_ratio"])
    heads, width = values["num_heads"], values["embed_dims"]
    if width % heads:
        raise ConfigError(
            f"embed_dims must be divisible by num_heads, but got {width} and {heads}"
        )
    projected = int(width * values["value_proj_ratio"])
    if projected < heads or projected % heads:
        raise ConfigError(
            "value_proj_ratio times embed_dims must be divisible by num_heads, but got "
            f"{values['value_proj_ratio']} times {width} and {heads}"
        )
    names = ["auto", *(backend.name for backend in all_backends())]
    if values.get("backend", "auto") not in names:
        raise ConfigError(
            f"backend must be one of {', '.join(names)}, but got {values['backend']!r}"
        )


def check_encoder_layer(layer_cfg: Any) -> None:
    """Refuse a config that no H or F layer can be built with.

    Args:
        layer_cfg: of the encoder; the attention is left to
            :func:`check_attention_arguments`.

    Raises:
        ConfigError: a part is missing, unknown or out of its range.
    """
    require_dict("layer_cfg", layer_cfg)
    require_known(DetrTransformerEncoderLayer, layer_cfg.keys(), "layer_cfg")
    attention = layer_cfg.get("self_attn_cfg")
    require_dict("self_attn_cfg", attention)
    batch_first = attention.get("batch_first", True)
    if batch_first is not True:
        raise ConfigError(
            f"batch_first must be True in an encoder, but got {batch_first!r}"
        )
    ffn = layer_cfg.get("ffn_cfg", {})
    require_dict("ffn_cfg", ffn)
    # Names of before, which mmcv still takes.
    names = [name for name in ffn if name not in ("dropout", "add_residual")]
    require_known(FFN, names, "ffn_cfg")
    for name, least in (("feedforward_channels", 1), ("num_fcs", 2)):
        if name in ffn:
            require_count(name, ffn[name], least)
    require_number("ffn_drop", ffn.get("ffn_drop", 0.0), most=1)
    widths = attention.get("embed_dims", 256), ffn.get("embed_dims", 256)
    if widths[0] != widths[1]:
        raise ConfigError(
            "embed_dims of self_attn_cfg and of ffn_cfg must be the same, but got "
            f"{widths[0]!r} and {widths[1]!r}"
        )
