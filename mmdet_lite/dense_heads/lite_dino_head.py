"""DINO's head with the official code's margin, and duplicates removed if asked to."""

from collections.abc import Sequence

from mmcv.ops import batched_nms
from mmdet.models.dense_heads import DINOHead
from mmdet.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor

from ..arguments import require_number


@MODELS.register_module()
class LiteDINOHead(DINOHead):
    """mmdet's ``DINOHead``, exact for weights of the official code.

    A box is the head's correction added to the inverse sigmoid of a reference, which
    needs a margin where a coordinate comes close to 0 or 1. The official code has 1e-3
    in decoder and head; mmdet has 1e-3 in the decoder and a fixed 1e-5 in the head.
    Only references of very small, full-width or invalid proposals feel it.

    A DETR learns not to find an object twice, and learns that last: after a training of
    few steps several queries may still sit on one object. ``test_cfg`` takes
    ``nms=dict(type='nms', iou_threshold=0.8)`` for such models; without it, as in the
    paper, nothing is removed.

    Args:
        *args: as ``DINOHead``.
        reference_eps (float): the margin, from 1e-5 to 0.499. Defaults to 1e-3.
        **kwargs: as ``DINOHead``.

    Raises:
        ConfigError: the margin is not in that range.
    """

    def __init__(self, *args, reference_eps: float = 1e-3, **kwargs) -> None:
        require_number("reference_eps", reference_eps, 1e-5, 0.499)
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

    def _predict_by_feat_single(
        self, cls_score: Tensor, bbox_pred: Tensor, img_meta: dict, rescale: bool = True
    ) -> InstanceData:
        """Predict for one image as ``DINOHead`` does, then remove duplicates.

        Args:
            cls_score: (num_queries, num_classes), logits.
            bbox_pred: (num_queries, 4), (cx, cy, w, h) in 0–1.
            img_meta: of the image.
            rescale: whether boxes are those of the image before resizing.

        Returns:
            InstanceData: ``bboxes`` (num, 4), ``scores`` (num,) and ``labels`` (num,).
        """
        results = super()._predict_by_feat_single(
            cls_score, bbox_pred, img_meta, rescale
        )
        nms_cfg = self.test_cfg.get("nms")
        if not nms_cfg or not len(results):
            return results
        device = results.bboxes.device
        # On the processor: mmcv may have no kernels for a GPU, which a few hundred
        # boxes gain nothing by.
        found, kept = batched_nms(
            results.bboxes.cpu(),
            results.scores.cpu(),
            results.labels.cpu(),
            dict(nms_cfg),
        )
        results = results[kept.to(device)]
        # Soft NMS lowers scores where the others remove boxes.
        results.scores = found[:, -1].to(device)
        return results


def _with_margin(reference: Tensor, eps: float) -> Tensor:
    """Move coordinates so that their plain inverse sigmoid is the one with a margin.

    With a margin, log(x / (1 - x)) has both x and 1 - x raised to at least eps, each by
    itself; clamping x to [eps, 1 - eps] would give another number at the ends.
    """
    above, below = reference.clamp(min=eps), (1 - reference).clamp(min=eps)
    return above / (above + below)
