"""Weights that do not make a model complete are refused by name."""

import pytest
import torch
from torch import nn

from mmdet_lite.checkpoint.fit import (
    CheckpointMismatchError,
    fit_of,
    require_part_fit,
    require_whole_fit,
    weights_of,
)


class Detector(nn.Module):
    def __init__(self, layers=2, width=4):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, width, 1), nn.BatchNorm2d(width))
        self.encoder = nn.Linear(width, width)
        self.decoder = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.bbox_head = nn.Linear(width, 2)


def without(part):
    weights = Detector().state_dict()
    return {n: v for n, v in weights.items() if not n.startswith(part)}


def test_weights_of_the_model_fit_under_any_of_their_names():
    weights = Detector().state_dict()
    for checkpoint in (
        weights,
        {"state_dict": weights},
        {"state_dict": {f"module.{n}": v for n, v in weights.items()}},
        without("backbone.1.num_batches_tracked"),
    ):
        require_whole_fit(fit_of(Detector(), weights_of(checkpoint)))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (without("decoder"), r"decoder 0 of 4.*4 are missing: decoder.0.weight"),
        (
            Detector(width=8).state_dict(),
            r"shape: backbone.0.weight \(8, 3, 1, 1\) instead of \(4, 3, 1, 1\)",
        ),
        (Detector(layers=3).state_dict(), "not: decoder.2.weight"),
        (
            {**Detector().state_dict(), "backbone.2.weight": torch.zeros(4, 4, 1, 1)},
            "not: backbone.2.weight",
        ),
        (
            {**Detector().state_dict(), "neck.0.weight": torch.zeros(4)},
            "not: neck.0.weight",
        ),
        (
            {**Detector().state_dict(), "encoder.bias": torch.full([4], torch.nan)},
            "1 of its weights are not finite: encoder.bias",
        ),
    ],
    ids=["missing", "shape", "layer", "backbone", "neck", "nan"],
)
def test_other_weights_are_refused(weights, message):
    with pytest.raises(CheckpointMismatchError, match=message):
        require_whole_fit(fit_of(Detector(), weights))


@pytest.mark.parametrize("checkpoint", [{}, {"state_dict": {}}, {"meta": {"a": 1}}])
def test_a_checkpoint_without_weights_is_refused(checkpoint):
    with pytest.raises(CheckpointMismatchError, match="holds no weights"):
        weights_of(checkpoint)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_start_needs_something_of_encoder_and_decoder(part):
    model = Detector()
    require_part_fit(fit_of(model, without("bbox_head")), model)
    with pytest.raises(CheckpointMismatchError, match=f"nothing of the model's {part}"):
        require_part_fit(fit_of(model, without(part)), model)


def test_a_start_may_be_of_a_larger_backbone():
    model = Detector()
    weights = {**model.state_dict(), "backbone.2.weight": torch.zeros(4, 4, 1, 1)}
    require_part_fit(fit_of(model, weights), model)


@pytest.mark.parametrize(
    "name", ["backbone.2.num_batches_tracked", "bbox_head.2.weight"]
)
def test_what_changes_no_prediction_may_be_too_much(name):
    weights = {**Detector().state_dict(), name: torch.zeros(())}
    require_whole_fit(fit_of(Detector(), weights))


def test_the_summary_counts_by_part():
    fit = fit_of(Detector(), without("bbox_head"))
    assert fit.summary() == (
        "13 of 15 weights (backbone 7 of 7, bbox_head 0 of 2, decoder 4 of 4, "
        "encoder 2 of 2)"
    )
