"""The encoders' FLOPs as a formula, to see where they go.

With D = embed_dims², T all tokens, H and L the high- and low-level ones, B blocks, and,
in units of D for a query, F the FFN and a the attention's linear layers::

    plain encoder  = D · layers · T · (1 + a + F)
    Lite encoder   = D · [layers·T + (layers − B)·H·(a + F) + B·(T·a + H·F + 2·L)]

The first term projects the values of all tokens in every layer. For 256 channels, 4
levels, 8 heads, 4 points and an FFN of 2048, a is 2.5 for plain attention and 3 for
key-aware attention, F is 16. Sampling adds 0.25 for a query of plain attention and
0.5 + 0.125 for one of key-aware attention, the two LayerNorms 0.04.
"""

from collections.abc import Sequence

from ..layers.interleaved_encoder import layer_sequence


def encoder_flops_formula(
    level_sizes: Sequence[int],
    *,
    key_aware: bool,
    num_high_levels: int | None = None,
    num_high_updates: int = 2,
    num_blocks: int = 3,
    num_layers: int = 6,
    embed_dims: int = 256,
    feedforward_channels: int = 2048,
    num_heads: int = 8,
    num_points: int = 4,
) -> int:
    """FLOPs of an encoder with nothing neglected, by the rule of :mod:`.counter`.

    Args:
        level_sizes: number of tokens of each level, from high to low resolution.
        key_aware: whether attention is key-aware, with keys that are the values.
        num_high_levels: x of ``HxLy``; None for the plain encoder.
        num_high_updates: A of ``(A+1)xB``; of the Lite encoder.
        num_blocks: B; of the Lite encoder.
        num_layers: of the plain encoder; the Lite encoder has A·B.
        embed_dims: channels of a token.
        feedforward_channels: hidden width of the FFN; the low-level tokens' FFN of the
            Lite encoder has ``embed_dims``.
        num_heads: heads of the attention.
        num_points: samples of a query and head on each level.

    Returns:
        int: multiply-accumulates of one image.
    """
    square = embed_dims**2
    num_tokens = sum(level_sizes)
    num_samples = num_heads * len(level_sizes) * num_points
    # Of a query: two offsets a sample, the output, and the query or a weight a sample.
    attention = 2 * num_samples * embed_dims + square
    attention += square if key_aware else num_samples * embed_dims
    sampled = num_samples * (embed_dims // num_heads)
    attention += (2 * 4 + 2) * sampled if key_aware else 4 * sampled
    ffn = 2 * embed_dims * feedforward_channels
    norms = 2 * 5 * embed_dims
    if num_high_levels is None:
        return num_layers * num_tokens * (square + attention + ffn + norms)
    num_high = sum(level_sizes[-num_high_levels:])
    num_low = num_tokens - num_high
    high = num_high * (attention + ffn + norms)
    low = num_low * (attention + 2 * square + norms)
    kinds = layer_sequence(num_high_updates, num_blocks)
    return (
        len(kinds) * num_tokens * square
        + kinds.count("H") * high
        + kinds.count("F") * (high + low)
    )
