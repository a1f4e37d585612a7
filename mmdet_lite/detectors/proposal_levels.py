"""Two-stage DETRs whose queries come from the smaller maps only."""

from collections.abc import Sequence
from typing import Any

from mmdet.models.detectors import DINO
from mmdet.registry import MODELS
from torch import Tensor

from ..arguments import require_count
from ..errors import ConfigError
from .few_tokens import FewTokensMixin


class ProposalLevelsMixin(FewTokensMixin):
    """Lets a two-stage DETR choose its queries among the tokens of some levels.

    mmdet's detectors score every token and make queries of the best. Only those that
    are chosen are trained, so the level that scores best at the start may keep all of
    the queries: ``docs/evidence.md`` shows small trainings that fail so. Here the
    tokens of the other levels propose nothing; the decoder still looks at them.

    The detector must take its proposals from what :meth:`gen_encoder_output_proposals`
    returns alone, as DINO, two-stage Deformable DETR and Grounding DINO do.

    Args:
        *args: as the detector, with **kwargs.
        num_proposal_levels (int, optional): levels whose tokens propose boxes, counted
            from the smallest map. None, the default, is all of them.

    Raises:
        ConfigError: it is no number of levels, or the detector has no second stage.
    """

    def __init__(self, *args, num_proposal_levels: int | None = None, **kwargs) -> None:
        if num_proposal_levels is not None:
            require_count("num_proposal_levels", num_proposal_levels)
        self.num_proposal_levels = num_proposal_levels
        super().__init__(*args, **kwargs)
        if num_proposal_levels is None:
            return
        if not self.as_two_stage:
            raise ConfigError("num_proposal_levels needs as_two_stage=True")
        if num_proposal_levels > self.num_feature_levels:
            raise ConfigError(
                f"num_proposal_levels is {num_proposal_levels}, but the detector has "
                f"{self.num_feature_levels} levels"
            )

    def gen_encoder_output_proposals(
        self, memory: Tensor, memory_mask: Tensor | None, spatial_shapes: Any
    ) -> tuple[Tensor, Tensor]:
        """Propose boxes as mmdet does, and keep those of the levels that may.

        Args:
            memory: (batch, num_tokens, embed_dims).
            memory_mask: (batch, num_tokens), True where a token is padding, or None.
            spatial_shapes: (num_levels, 2), (height, width).

        Returns:
            tuple: projected memory (batch, num_proposals, embed_dims) and proposals
            (batch, num_proposals, 4) before the sigmoid.
        """
        memory, proposals = super().gen_encoder_output_proposals(
            memory, memory_mask, spatial_shapes
        )
        return self._of_proposal_levels(memory, proposals, spatial_shapes)

    def _of_proposal_levels(
        self, memory: Tensor, proposals: Tensor, spatial_shapes: Sequence
    ) -> tuple[Tensor, Tensor]:
        if self.num_proposal_levels is None:
            return memory, proposals
        first = self._num_passed_over(spatial_shapes)
        return memory[:, first:], proposals[:, first:]

    def _count_proposals(self, memory: Tensor, spatial_shapes: Sequence) -> int:
        return memory.shape[1] - self._num_passed_over(spatial_shapes)

    def _num_passed_over(self, spatial_shapes: Sequence) -> int:
        """How many tokens come before those that propose boxes."""
        if self.num_proposal_levels is None:
            return 0
        passed_over = spatial_shapes[: -self.num_proposal_levels]
        return sum(height * width for height, width in passed_over)


@MODELS.register_module()
class ProposalLevelsDINO(ProposalLevelsMixin, DINO):
    """mmdet's ``DINO`` with ``num_proposal_levels``, to compare Lite-DINO with.

    Takes any config of ``DINO``; see :class:`ProposalLevelsMixin`.
    """
