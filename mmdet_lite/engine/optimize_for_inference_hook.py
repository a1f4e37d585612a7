"""Make a model fast before it is tested."""

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..model_wrappers import unwrapped
from ..runtime import optimize_for_inference


@HOOKS.register_module()
class OptimizeForInferenceHook(Hook):
    """Calls :func:`~mmdet_lite.runtime.optimize_for_inference` before a test.

    Args:
        dtype: as there.
    """

    def __init__(self, dtype: torch.dtype | None = None) -> None:
        self.dtype = dtype

    def before_test(self, runner: Runner) -> None:
        """Optimise the runner's model, whose weights are loaded by now."""
        optimize_for_inference(unwrapped(runner.model), self.dtype)
