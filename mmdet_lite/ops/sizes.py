"""How large a call of an operator is, for the choice of a backend."""

from typing import NamedTuple

from torch import Tensor


class Sizes(NamedTuple):
    """The sizes of a call's tensors, named as in their shapes."""

    batch: int
    num_queries: int
    num_heads: int
    head_dims: int
    num_levels: int
    num_points: int
    num_tokens: int

    @classmethod
    def of(cls, value: Tensor, sampling_locations: Tensor) -> "Sizes":
        """Read the sizes off two tensors of a call.

        Args:
            value: (batch, num_tokens, num_heads, head_dims).
            sampling_locations: (batch, num_queries, num_heads, num_levels, num_points,
                2).
        """
        batch, num_tokens, num_heads, head_dims = value.shape
        _, num_queries, _, num_levels, num_points, _ = sampling_locations.shape
        return cls(
            batch,
            num_queries,
            num_heads,
            head_dims,
            num_levels,
            num_points,
            num_tokens,
        )
