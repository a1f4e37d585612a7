"""Refuse weights of the other attention, which load without complaint but are wrong.

Plain attention predicts weights by one linear layer, key-aware attention projects the
query by another, and with predicted logits it has both. mmengine only warns of missing
and unexpected keys, so a model would run without what its weights were trained with.
"""

from torch import Tensor, nn

from ..errors import ConfigError

_PROJECTIONS = ("attention_weights", "query_proj")
_KINDS = {
    ("attention_weights",): "plain",
    ("query_proj",): "key-aware",
    _PROJECTIONS: "key-aware with predicted logits",
}
"""What attention is by which of these layers it has."""


class AttentionMismatchError(ConfigError):
    """The checkpoint was trained with another kind of deformable attention."""


def refuse_other_attention(
    module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *args
) -> None:
    """Check the attention weights of a state dict before they are loaded.

    A pre-hook for ``register_load_state_dict_pre_hook`` of a detector. Key-aware
    attention with predicted logits takes weights of the other two: what they lack
    starts from zeros, and it computes what they were trained for.

    Raises:
        AttentionMismatchError: the weights have a layer that an attention of the model
            has not; the message names the keys.
    """
    found, missing, kinds = [], [], []
    for name, child in module.named_modules():
        if not hasattr(child, "sampling_offsets"):
            continue
        keys = {key: f"{prefix}{name}.{key}.weight" for key in _PROJECTIONS}
        own = tuple(key for key in keys if getattr(child, key, None) is not None)
        given = tuple(key for key in keys if keys[key] in state_dict)
        if not own or set(given) <= set(own):
            continue
        found += [keys[key] for key in given if key not in own]
        missing += [keys[key] for key in own if key not in given]
        kinds += [(_KINDS[given], _KINDS[own])]
    if found:
        lacks = f" and lacks {', '.join(missing)}" if missing else ""
        raise AttentionMismatchError(
            f"the checkpoint holds weights of {kinds[0][0]} deformable attention, but "
            f"the model's attention is {kinds[0][1]}: it has {', '.join(found)}{lacks}."
            " Choose the attention by type and predict_logits in self_attn_cfg and "
            "cross_attn_cfg, or load a checkpoint of the same kind."
        )
