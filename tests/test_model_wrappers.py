"""A model is found inside of whatever mmengine puts around it."""

import pytest
from mmdet.models import DetTTAModel
from mmengine.model import BaseModel, ExponentialMovingAverage
from torch import nn

from mmdet_lite.model_wrappers import unwrapped


class Detector(BaseModel):
    def __init__(self):
        super().__init__()
        self.module = nn.Linear(2, 2)  # A part of it, and no model that it wraps.

    def forward(self, inputs, data_samples=None, mode="tensor"):
        return self.module(inputs)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: model,
        nn.DataParallel,
        lambda model: DetTTAModel(module=model),
        lambda model: nn.DataParallel(DetTTAModel(module=model)),
    ],
    ids=["alone", "devices", "augmentation", "both"],
)
def test_the_innermost_model_is_found(wrap):
    model = Detector()
    assert unwrapped(wrap(model)) is model


def test_averaged_weights_are_the_model():
    averaged = ExponentialMovingAverage(Detector())
    assert isinstance(unwrapped(averaged), Detector)
