"""DINO's head with the margin that the official code gives to its references."""

from collections.abc import Sequence

from mmdet.models.dense_heads import DINOHead
from mmdet.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class LiteDINOHead(DINOHead):
    """mmdet's ``DINOHead``, exact for weights of the official code.

    A box is the head's correction added to the inverse sigmoid of a reference, which
    needs a margin where a coordinate comes close to 0 or 1. The official code has 1e-3
    in decoder and head; mmdet has 1e-3 in the decoder and a fixed 1e-5 in the head.
    Only references of very small, full-width or invalid proposals feel it.

    Args:
        *args: as ``DINOHead``.
        reference_eps (float): the margin, above 1e-5 and below 0.5. Defaults to 1e-3.
        **kwargs: as ``DINOHead``.
    """

    def __init__(self, *args, reference_eps: float = 1e-3, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.reference_eps = reference_eps

    def forward(
        self, hidden_states: Tensor, references: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Predict logits and boxes as ``DINOHead`` does.

        Args:
            hidden_states: (num_layers, batch, num_queries, embed_dims).
            references: for each layer (batch, num_queries, 4), (cx, cy, w, h) in 0–1.

        Returns:
            tuple: logits (num_layers, batch, num_queries, num_classes) and boxes
            (num_layers, batch, num_queries, 4), (cx, cy, w, h) in 0–1.
        """
        return super().forward(
            hidden_states,
            [_with_margin(reference, self.reference_eps) for reference in references],
        )


def _with_margin(reference: Tensor, eps: float) -> Tensor:
    """Move coordinates so that their plain inverse sigmoid is the one with a margin.

    With a margin, log(x / (1 - x)) has both x and 1 - x raised to at least eps, each by
    itself; clamping x to [eps, 1 - eps] would give another number at the ends.
    """
    above, below = reference.clamp(min=eps), (1 - reference).clamp(min=eps)
    return above / (above + below)
