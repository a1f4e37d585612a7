"""A model and what --optimize makes of it are timed side by side."""

import torch
from torch import nn

from mmdet_lite.benchmark import models, subjects
from mmdet_lite.ops.accelerate import mmcv_operator

CONFIG = "configs/lite_detr/lite-dino_h3l1-2p1x3_r18_1xb4-3e_digits.py"


def test_optimized_subjects_have_rows_of_their_own(repository, monkeypatch):
    norms = []
    build = subjects._inference

    def spy(model, *arguments):
        norms.append(any(isinstance(m, nn.BatchNorm2d) for m in model.modules()))
        return build(model, *arguments)

    monkeypatch.setattr(subjects, "_inference", spy)
    config = str(repository / CONFIG)
    with mmcv_operator(fast=False):  # Leaves mmcv as it was.
        rows = models.measure_models(
            *([config], "model", (64, 64), torch.device("cpu"), 1),
            optimized=[config],
        )
    name = "lite-dino_h3l1-2p1x3_r18_1xb4-3e_digits"
    assert [row["subject"] for row in rows] == [name, f"{name}, optimized"]
    assert [row["config"] for row in rows] == [config] * 2
    assert norms == [True, False]
    assert all(row["time"]["median"] > 0 for row in rows)
