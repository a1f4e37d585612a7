"""The head's margin: mmdet's inverse sigmoid, but with the official epsilon."""

import pytest
import torch
from mmdet.models.layers import inverse_sigmoid
from mmdet.registry import MODELS

from mmdet_lite.errors import ConfigError

# What DINO sets in the head; a width of 8 is enough here.
HEAD = {
    "type": "LiteDINOHead",
    "num_classes": 3,
    "embed_dims": 8,
    "num_pred_layer": 2,
    "as_two_stage": True,
    "train_cfg": None,
    "loss_cls": {"type": "FocalLoss", "use_sigmoid": True},
}


@pytest.mark.parametrize("eps", [1e-3, 1e-2])
def test_boxes_have_the_margin_of_the_official_head(eps):
    head = MODELS.build({**HEAD, "reference_eps": eps}).double()
    generator = torch.Generator().manual_seed(0)
    for branch in head.reg_branches:
        torch.nn.init.normal_(branch[-1].weight, generator=generator)
    ends = torch.tensor([0, 1e-7, 1e-4, eps, 0.3, 0.7, 1 - eps, 1 - 1e-4, 1])
    references = ends.double()[torch.randint(9, (1, 2, 40, 4), generator=generator)]
    states = torch.randn(1, 2, 40, 8, generator=generator, dtype=torch.float64)
    references.requires_grad_()
    _, boxes = head(states, list(references))
    expected = (
        head.reg_branches[0](states[0]) + inverse_sigmoid(references[0], eps=eps)
    ).sigmoid()
    torch.testing.assert_close(boxes[0], expected, rtol=0, atol=1e-14)
    # Look forward twice: gradients reach the references.
    (actual,) = torch.autograd.grad(boxes.square().sum(), references)
    (wanted,) = torch.autograd.grad(expected.square().sum(), references)
    torch.testing.assert_close(actual, wanted, rtol=1e-9, atol=1e-12)


def test_references_inside_the_margin_are_those_of_mmdet():
    """Bit by bit: the head changes nothing where it has nothing to cure."""
    head = MODELS.build(HEAD)
    stock = MODELS.build({**HEAD, "type": "DINOHead"})
    stock.load_state_dict(head.state_dict())
    generator = torch.Generator().manual_seed(0)
    references = torch.rand(1, 2, 500, 4, generator=generator) * 0.99 + 0.005
    states = torch.randn(1, 2, 500, 8, generator=generator)
    for actual, expected in zip(
        head(states, references), stock(states, references), strict=True
    ):
        assert torch.equal(actual, expected)


def predict(test_cfg):
    """Two queries on one object, one of another class on it, one elsewhere."""
    head = MODELS.build({**HEAD, "test_cfg": test_cfg})
    logits = torch.full((4, 3), -5.0)
    logits[0, 0], logits[1, 0], logits[2, 1], logits[3, 0] = 2.0, 1.0, 0.5, 0.0
    boxes = torch.tensor([[0.3, 0.3, 0.2, 0.2]] * 3 + [[0.8, 0.8, 0.2, 0.2]])
    boxes[1, 0] += 0.01
    meta = {"img_shape": (100, 100), "scale_factor": (1.0, 1.0)}
    return head._predict_by_feat_single(logits, boxes, meta)


def test_duplicates_stay_as_in_the_paper_unless_asked_for():
    assert len(predict({"max_per_img": 4})) == 4


def test_soft_suppression_lowers_scores_and_removes_nothing():
    soft = {"type": "soft_nms", "iou_threshold": 0.5, "min_score": 0.0}
    results = predict({"max_per_img": 4, "nms": soft})
    assert len(results) == 4
    assert results.scores.diff().max() <= 0
    second = torch.tensor(1.0).sigmoid()
    assert (results.scores < 0.5 * second).any()


@pytest.mark.parametrize("eps", [0, 1e-6, 0.5, -1, "1e-3", True])
def test_a_margin_that_is_none_is_refused(eps):
    with pytest.raises(ConfigError, match="reference_eps must be a number from 1e-05"):
        MODELS.build({**HEAD, "reference_eps": eps})


def test_duplicates_are_removed_class_by_class():
    nms = {"type": "nms", "iou_threshold": 0.8}
    results = predict({"max_per_img": 4, "nms": nms})
    torch.testing.assert_close(
        results.scores, torch.tensor([2.0, 0.5, 0.0]).sigmoid(), atol=1e-5, rtol=0
    )
    assert results.labels.tolist() == [0, 1, 0]
    assert len(predict({"max_per_img": 4, "nms": {**nms, "iou_threshold": 0.99}})) == 4
