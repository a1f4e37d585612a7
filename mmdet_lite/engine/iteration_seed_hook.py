"""Give every iteration of training random numbers of its own."""

from typing import Any

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from .seeds import seed_all


@HOOKS.register_module()
class IterationSeedHook(Hook):
    """Seeds each iteration from the run's seed, the rank and the iteration's number.

    What an iteration draws, for dropout or for noisy queries, is then the same whatever
    ran before it in the process: validation, or nothing, after a resumption. No state
    needs to be saved, of any device or rank. What the data pipeline draws is seeded by
    :class:`~mmdet_lite.engine.seeded_samples.ResumableBatchSampler`.
    """

    priority = "VERY_HIGH"

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Seed, after the data were loaded."""
        seed_all(runner.seed, get_rank(), runner.iter)
