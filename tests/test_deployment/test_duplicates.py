"""NMS in a graph removes what mmcv's removes."""

import pytest
import torch
from mmcv.ops import batched_nms

from mmdet_lite.deployment.duplicates import without_duplicates


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.8])
def test_what_stays_is_what_mmcv_keeps(threshold):
    generator = torch.Generator().manual_seed(0)
    corners = 100 * torch.rand(3, 60, 2, generator=generator)
    sides = 10 + 40 * torch.rand(3, 60, 2, generator=generator)
    boxes = torch.cat([corners, corners + sides], dim=-1)
    scores = torch.rand(3, 60, generator=generator).sort(descending=True).values
    labels = torch.randint(2, (3, 60), generator=generator)
    result = without_duplicates(boxes, scores, labels, threshold)
    for image in range(3):
        cfg = {"type": "nms", "iou_threshold": threshold}
        _, kept = batched_nms(boxes[image], scores[image], labels[image], cfg)
        expected = torch.zeros(60)
        expected[kept] = scores[image][kept]
        assert result[image].equal(expected)


def test_a_chain_loses_every_other_box():
    """A box that is removed removes none: each overlaps its neighbours only."""
    left = 4.0 * torch.arange(20)
    boxes = torch.stack([left, left * 0, left + 10, left * 0 + 10], dim=-1)[None]
    scores = torch.linspace(1, 0.5, 20)[None]
    result = without_duplicates(boxes, scores, torch.zeros(1, 20, dtype=torch.int), 0.3)
    assert (result > 0).tolist() == [[True, False] * 10]
