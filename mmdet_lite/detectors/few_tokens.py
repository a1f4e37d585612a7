"""Images of fewer tokens than there are queries: as many queries as tokens."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor

# A type checker is told what the mixin stands before; nothing inherits it from here.
if TYPE_CHECKING:
    from mmdet.models.detectors import DeformableDETR as _Detector
else:
    _Detector = object


class FewTokensMixin(_Detector):
    """Gives a two-stage DETR no more queries than there are tokens to propose boxes.

    Every token proposes one box, and the best make the queries. Where an image is so
    small that there are fewer tokens, mmdet ends in an error of ``topk``; with this
    mixin all of them make queries, the first of the learned ones, and no more objects
    are found than there are queries.
    """

    # A type checker is not told by mmdet.
    num_queries: int

    # The head's settings are changed for a prediction alone, which sets them back.
    _is_predicting = False

    def pre_decoder(
        self, memory: Tensor, memory_mask: Tensor | None, spatial_shapes: Any, **kwargs
    ) -> tuple[dict, dict]:
        """Make the queries as mmdet does, as many as there are tokens at most.

        Args:
            memory: (batch, num_tokens, embed_dims).
            memory_mask: (batch, num_tokens), True where a token is padding, or None.
            spatial_shapes: (num_levels, 2), integers, (height, width).
            **kwargs: as the detector's hook.

        Returns:
            tuple: keyword arguments of the decoder and of the head.
        """
        inputs = {
            "memory": memory,
            "memory_mask": memory_mask,
            "spatial_shapes": spatial_shapes,
            **kwargs,
        }
        num_proposals = self._count_proposals(memory, spatial_shapes)
        if not self.as_two_stage or num_proposals >= self.num_queries:
            return super().pre_decoder(**inputs)
        with self._limited_to(num_proposals):
            decoder_inputs, head_inputs = super().pre_decoder(**inputs)
        num_queries = decoder_inputs["reference_points"].shape[1]
        # DINO lists all of its learned queries, after those of the denoising.
        decoder_inputs["query"] = decoder_inputs["query"][:, :num_queries]
        if self._is_predicting:
            most = self.bbox_head.test_cfg.get("max_per_img", num_queries)
            self.bbox_head.test_cfg = {
                **self.bbox_head.test_cfg,
                "max_per_img": min(most, num_queries),
            }
        return decoder_inputs, head_inputs

    def predict(self, *args, **kwargs) -> Any:
        """Predict as mmdet does; see :meth:`pre_decoder`.

        Args:
            *args: as the detector's, with **kwargs.

        Returns:
            list: the samples with their predictions.
        """
        test_cfg = self.bbox_head.test_cfg
        self._is_predicting = True
        try:
            return super().predict(*args, **kwargs)
        finally:
            self._is_predicting = False
            self.bbox_head.test_cfg = test_cfg

    def _count_proposals(self, memory: Tensor, spatial_shapes: Any) -> int:
        """How many boxes the tokens propose: one each."""
        return memory.shape[1]

    @contextmanager
    def _limited_to(self, num_proposals: int) -> Iterator[None]:
        """Let all that counts queries count as many as there are proposals."""
        denoising = getattr(self, "dn_query_generator", None)
        before = self.num_queries
        self.num_queries = num_proposals
        if denoising is not None:
            denoising.num_matching_queries = num_proposals
        try:
            yield
        finally:
            self.num_queries = before
            if denoising is not None:
                denoising.num_matching_queries = before
