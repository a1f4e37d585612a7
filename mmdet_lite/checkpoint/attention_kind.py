"""Refuse weights of the other attention, which load without complaint but are wrong.

Key-aware and plain attention differ by two linear layers. mmengine only warns of
missing and unexpected keys, so the model would run with random projections.
"""

from torch import Tensor, nn

from ..errors import ConfigError
from ..layers.key_aware_attention import KeyAwareDeformableAttention


class AttentionMismatchError(ConfigError):
    """The checkpoint was trained with the other kind of deformable attention."""


def refuse_other_attention(
    module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *args
) -> None:
    """Check the attention weights of a state dict before they are loaded.

    A pre-hook for ``register_load_state_dict_pre_hook`` of a detector.

    Raises:
        AttentionMismatchError: an attention of the model is key-aware and its weights
            are of plain attention, or the reverse; the message names the keys.
    """
    found, missing = [], []
    for name, child in module.named_modules():
        if not hasattr(child, "sampling_offsets"):
            continue
        own, other = "query_proj", "attention_weights"
        if not isinstance(child, KeyAwareDeformableAttention):
            own, other = other, own
        own_key, other_key = (
            f"{prefix}{name}.{projection}.weight" for projection in (own, other)
        )
        if other_key in state_dict and own_key not in state_dict:
            found.append(other_key)
            missing.append(own_key)
    if found:
        key_aware = found[0].endswith("attention_weights.weight")
        kinds = ("plain", "key-aware") if key_aware else ("key-aware", "plain")
        raise AttentionMismatchError(
            f"the checkpoint holds weights of {kinds[0]} deformable attention, but the "
            f"model's attention is {kinds[1]}: it has {', '.join(found)} and lacks "
            f"{', '.join(missing)}. Choose the attention by the type in self_attn_cfg "
            "and cross_attn_cfg, or load a checkpoint of the same kind."
        )
