"""A device that cannot run a training is told before the work."""

import pytest
from mmdet.models.losses import FocalLoss

from mmdet_lite.cli import device, require_operators_of_losses
from mmdet_lite.errors import ConfigError


@pytest.mark.parametrize(
    ("gpu", "built_for", "loss", "refused"),
    [
        ("cuda", "not available", "FocalLoss", True),
        ("cuda", "not available", "mmdet.FocalLoss", True),
        ("cuda", "not available", FocalLoss, True),
        ("cuda", "not available", "CrossEntropyLoss", False),
        ("cuda", "not available", "mmpretrain.FocalLoss", False),
        ("cuda", "12.8", "FocalLoss", False),
        ("cpu", "not available", "FocalLoss", False),
    ],
)
def test_losses_that_mmcv_has_not_for_the_gpu_are_refused(
    read, monkeypatch, gpu, built_for, loss, refused
):
    monkeypatch.setattr(device, "get_device", lambda: gpu)
    monkeypatch.setattr(device, "get_compiling_cuda_version", lambda: built_for)
    cfg = read()
    # Heads may be several, and their losses too.
    cfg.model.bbox_head = [{"loss_cls": [{"type": loss}]}]
    if not refused:
        require_operators_of_losses(cfg)
        return
    with pytest.raises(ConfigError, match="built without operators for it, one of"):
        require_operators_of_losses(cfg)
