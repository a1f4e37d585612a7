"""Weights count as the model's own loading takes them."""

import pytest
import torch
from mmdet.models import FCOSHead, SemiBaseDetector
from mmdet.registry import MODELS
from mmengine.model import BaseModel
from mmengine.runner import load_state_dict
from torch import nn

from mmdet_lite.checkpoint.fit import (
    CheckpointMismatchError,
    fit_of,
    require_part_fit,
    require_whole_fit,
    weights_of,
)


@MODELS.register_module(force=True)
class OfTwoParts(BaseModel):
    def __init__(self, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.encoder = nn.Linear(2, 2)
        self.decoder = nn.Linear(2, 2)

    def forward(self, inputs, data_samples=None, mode="tensor"):
        return inputs


class Renamed(nn.Module):
    """Had its encoder under another name once, as mmdet 2.x had some."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(2, 2)
        self.scale = nn.Parameter(torch.zeros(2))
        self.register_load_state_dict_pre_hook(self.translate)

    @staticmethod
    def translate(module, weights, prefix, *args):
        for name in [n for n in weights if n.startswith(f"{prefix}layers.")]:
            weights[name.replace("layers.", "encoder.")] = weights.pop(name)


@pytest.fixture
def teacher_and_student():
    return SemiBaseDetector(
        detector={"type": "OfTwoParts"},
        semi_train_cfg={"freeze_teacher": True},
        semi_test_cfg={"predict_on": "teacher"},
    )


def test_weights_of_one_detector_are_taken_by_teacher_and_student(teacher_and_student):
    plain = OfTwoParts().state_dict()
    fit = fit_of(teacher_and_student, plain)
    require_part_fit(fit, teacher_and_student)
    require_whole_fit(fit)
    assert fit.summary() == "8 of 8 weights (student 4 of 4, teacher 4 of 4)"
    assert list(plain) == list(OfTwoParts().state_dict())


def test_weights_of_another_detector_are_not(teacher_and_student):
    other = nn.ModuleDict({"backbone": nn.Linear(2, 2)}).state_dict()
    with pytest.raises(CheckpointMismatchError, match="nothing is in it"):
        require_part_fit(fit_of(teacher_and_student, other), teacher_and_student)


def test_names_of_earlier_heads_are_theirs_and_later_ones_stay():
    model = nn.ModuleDict({"bbox_head": FCOSHead(num_classes=2, in_channels=4)})
    model["bbox_head"].extra_cls = nn.Linear(2, 2)
    weights = weights_of({"state_dict": model.state_dict()})
    require_whole_fit(fit_of(model, weights))
    del model["bbox_head"].extra_cls
    weights = model.state_dict()
    earlier = {
        name.replace("conv_cls.", "fcos_cls.").replace("conv_reg.", "fcos_reg."): tensor
        for name, tensor in weights.items()
    }
    assert set(earlier) != set(weights)
    require_whole_fit(fit_of(model, earlier))


def test_what_a_hook_translates_counts_and_the_model_stays_as_it_is():
    model = nn.ModuleDict({"part": Renamed()})
    weights = {
        "part.layers.weight": torch.ones(2, 2),
        "part.layers.bias": torch.ones(2),
        "part.scale": torch.ones(2),
        "part.other": torch.ones(2),
    }
    fit = fit_of(model, weights)
    assert fit.missing == []
    assert fit.surplus == ["part.other"]
    assert not model["part"].scale.any()
    assert "part.layers.weight" in weights
    load_state_dict(model, weights)
    assert model["part"].encoder.weight.all()
