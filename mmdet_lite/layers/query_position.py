"""DINO's encoding of a query's box, one width in every mmdet."""

from mmdet.models.layers import MLP, DinoTransformerDecoder
from torch import Tensor, nn


def keep_official_positions(decoder: nn.Module) -> None:
    """Have a decoder of mmdet encode the boxes of its queries as official DINO does.

    Official DINO and mmdet 3.3 encode each of a box's four numbers in embed_dims / 2
    sines and cosines. The decoder of onedl-mmdetection 3.5 takes embed_dims of them:
    no released weights of DINO fit the perceptron behind, nor does its own in Grounding
    DINO. Every other of its frequencies is an official one, so those are picked from
    what it computes. With mmdet 3.3 at its width of 256 nothing changes.

    Args:
        decoder: changed in place if it is a ``DinoTransformerDecoder``; others have
            encodings of their own. Call it before weights are initialised or loaded.
    """
    if not isinstance(decoder, DinoTransformerDecoder):
        return
    head = decoder.ref_point_head
    width, first = 2 * decoder.embed_dims, head.layers[0]
    if first.in_features != width:
        head.layers[0] = type(first)(width, first.out_features)
    head.register_forward_pre_hook(_pick_frequencies)


def _pick_frequencies(head: MLP, inputs: tuple[Tensor]) -> Tensor | None:
    """Thin an encoding, pairs of sine and cosine, to what the perceptron takes."""
    (encoding,) = inputs
    step = encoding.shape[-1] // head.layers[0].in_features
    if step < 2:
        return None
    return encoding.unflatten(-1, (-1, 2))[..., ::step, :].flatten(-2)
