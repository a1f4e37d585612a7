"""NMS in a graph: objects that were found twice lose their score.

Arrays keep their size, so that every runtime knows it: what is removed scores 0.
"""

from typing import Any

import torch
from torch import Tensor


def without_duplicates(
    boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float
) -> Tensor:
    """Score 0 for a box that overlaps a better one of its class too much.

    Args:
        boxes: (batch, num, 4), (x1, y1, x2, y2).
        scores: (batch, num), best first.
        labels: (batch, num).
        iou_threshold: boxes with more overlap are one object.

    Returns:
        Tensor: (batch, num), the scores that stay and 0.
    """
    # Classes are moved apart, as mmcv's batched_nms does.
    apart = boxes + (labels * (boxes.max() + 1)).unsqueeze(-1)
    if torch.onnx.is_in_onnx_export():
        selected = _NonMaxSuppression.apply(apart, scores.unsqueeze(1), iou_threshold)
        kept = torch.zeros_like(scores)
        kept[selected[:, 0], selected[:, 2]] = 1.0
        return scores * kept
    return scores * _greedy(_overlaps(apart) > iou_threshold)


def _overlaps(boxes: Tensor) -> Tensor:
    """IoU of every pair of boxes: (batch, num, 4) -> (batch, num, num)."""
    first, second = boxes.unsqueeze(2), boxes.unsqueeze(1)
    sides = torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(
        first[..., :2], second[..., :2]
    )
    common = sides.clamp(min=0).prod(-1)
    areas = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
    return common / (areas.unsqueeze(2) + areas.unsqueeze(1) - common)


def _greedy(overlapping: Tensor) -> Tensor:
    """Which boxes stay, the best first: (batch, num, num), bool -> (batch, num).

    A box stays if no better one that stays overlaps it. Written as a step from a guess
    to a better guess this settles, at the latest after as many steps as boxes, where
    taking one box after the other ends; mostly after two or three.
    """
    by_better = overlapping.triu(1)

    def step(guess: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        return ~(guess.unsqueeze(2) & by_better).any(1), guess.clone()

    def changing(guess: Tensor, before: Tensor) -> Tensor:
        return (guess != before).any()

    everything = torch.ones_like(overlapping[:, 0])
    state = step(everything, everything)
    if torch.compiler.is_compiling():
        return torch.while_loop(changing, step, state)[0]
    while changing(*state):
        state = step(*state)
    return state[0]


class _NonMaxSuppression(torch.autograd.Function):
    """ONNX's operator of that name: rows of (image, 0, box) that stay."""

    @staticmethod
    def forward(
        ctx: Any, boxes: Tensor, scores: Tensor, iou_threshold: float
    ) -> Tensor:
        image, box = _greedy(_overlaps(boxes) > iou_threshold).nonzero(as_tuple=True)
        return torch.stack([image, torch.zeros_like(image), box], dim=1)

    @staticmethod
    def symbolic(graph: Any, boxes: Any, scores: Any, iou_threshold: float) -> Any:
        def constant(value: Tensor) -> Any:
            return graph.op("Constant", value_t=value)

        # Without a limit of its own the operator selects nothing.
        limit = constant(torch.tensor([torch.iinfo(torch.int64).max]))
        return graph.op(
            "NonMaxSuppression",
            boxes,
            scores,
            limit,
            constant(torch.tensor([iou_threshold])),
        )
