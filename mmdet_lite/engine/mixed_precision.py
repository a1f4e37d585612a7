"""Mixed precision whose predictions are as good as float32's and can be read."""

from collections.abc import Callable

import torch
from mmdet.structures import DetDataSample
from torch import Tensor, nn


def predict_in_float32(model: nn.Module) -> None:
    """Keep what is predicted in float32 whatever autocast computes in.

    A coordinate has 8 bits in bfloat16, which is 1/256 of the image: the branches that
    predict boxes and scores run in float32, where they cost little. Results are float32
    too, because mmdet's metrics turn them into NumPy arrays, which have no bfloat16.

    Args:
        model: a detector of mmdet, float32; it is changed.
    """
    branches = {
        branch
        for module in model.modules()
        for name in ("cls_branches", "reg_branches")
        for branch in getattr(module, name, ())
    }
    for branch in branches:
        branch.forward = _in_float32(branch.forward)
    model.register_forward_hook(_convert_predictions)


def _in_float32(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def run(features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return forward(features.float())

    return run


def _convert_predictions(model: nn.Module, args: tuple, output: object) -> None:
    if not isinstance(output, list):
        return
    for sample in output:
        if isinstance(sample, DetDataSample) and "pred_instances" in sample:
            instances = sample.pred_instances
            for name, field in list(instances.items()):
                if torch.is_tensor(field) and field.is_floating_point():
                    instances[name] = field.float()
