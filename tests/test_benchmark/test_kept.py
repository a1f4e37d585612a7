"""What a step keeps is counted where it is kept."""

import torch
from torch import nn

from mmdet_lite.benchmark.kept import OUTSIDE, kept_by_part


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
        self.head = nn.Linear(8, 2)

    def forward(self, tokens):
        return self.head(self.body(tokens)).square().sum()


def test_parts_keep_what_they_save_first():
    model = Model()
    tokens = torch.randn(3, 4)
    kept = kept_by_part(model, lambda: model(tokens).backward())
    # The input of the first layer and the ReLU's output, which the head shares; the
    # square's input is kept by the model itself. Weights do not count.
    assert kept == {"body": 4 * (3 * 4 + 3 * 8), OUTSIDE: 4 * 3 * 2}


def test_nothing_stays_behind():
    model = Model()
    kept_by_part(model, lambda: model(torch.randn(3, 4)).backward())
    hooks = [
        hook
        for module in model.modules()
        for hook in (*module._forward_hooks, *module._forward_pre_hooks)
    ]
    assert hooks == []
