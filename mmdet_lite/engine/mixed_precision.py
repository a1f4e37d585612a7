"""Predictions of mixed precision that metrics and drawings can read."""

import torch
from mmdet.structures import DetDataSample
from torch import nn


def predict_in_float32(model: nn.Module) -> None:
    """Make a detector's predictions float32 whatever autocast computes in.

    mmdet's metrics turn predictions into NumPy arrays, which have no bfloat16.

    Args:
        model: a detector of mmdet; its ``mode='predict'`` results are changed.
    """
    model.register_forward_hook(_convert_predictions)


def _convert_predictions(model: nn.Module, args: tuple, output: object) -> None:
    if not isinstance(output, list):
        return
    for sample in output:
        if isinstance(sample, DetDataSample) and "pred_instances" in sample:
            instances = sample.pred_instances
            for name, field in list(instances.items()):
                if torch.is_tensor(field) and field.is_floating_point():
                    instances[name] = field.float()
