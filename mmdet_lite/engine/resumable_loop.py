"""Train by epochs, and go on in the middle of one; or by iterations."""

from collections.abc import Sequence
from typing import Any

from mmengine.optim import OptimWrapper
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch import nn
from torch.utils.data import DataLoader

from ..errors import ConfigError
from .invalid_loss_hook import SkipIteration
from .seeded_samples import ResumableBatchSampler
from .stop_signal_hook import giving_signals_back
from .worker_signals import shield_workers

# Key of the message hub, which is saved in every checkpoint.
_POSITION = "epoch_position"


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop):
    """mmengine's loop, which starts at the batch where the checkpoint was saved.

    mmengine's begins the epoch anew and counts on. The data loader's batch sampler has
    to be a :class:`~mmdet_lite.engine.seeded_samples.ResumableBatchSampler`.

    Args:
        *args: of mmengine's loop, with **kwargs.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        # Batches of the current epoch that the run trained on before it was resumed.
        self._done = 0

    def run(self) -> nn.Module:
        """Train.

        Raises:
            ConfigError: the checkpoint is from within an epoch of other batches.
        """
        position: dict[str, int] = self.runner.message_hub.get_info(_POSITION, {})
        # A checkpoint of a finished epoch counts that epoch already.
        if self.iter > 0 and position.get("epoch") == self.epoch:
            self._done = self.iter - position["first_iteration"]
            if position["batches"] != len(self.dataloader):
                raise ConfigError(
                    f"the checkpoint was saved after {self._done} of "
                    f"{position['batches']} batches of an epoch, which has "
                    f"{len(self.dataloader)} now: data set, batch size or number of "
                    "devices are others. Resume from a checkpoint of a whole epoch"
                )
        with giving_signals_back(self.runner):
            return super().run()

    def run_epoch(self) -> None:
        """Train on the batches of an epoch that are left."""
        self.runner.message_hub.update_info(
            _POSITION,
            {
                "epoch": self.epoch,
                "first_iteration": self.iter - self._done,
                "batches": len(self.dataloader),
            },
        )
        self.dataloader.batch_sampler.start_next_at(
            self._done, self.epoch, self.runner.seed
        )
        super().run_epoch()
        self._done = 0

    def run_iter(self, idx: int, data_batch: Sequence[Any]) -> None:
        """Train on a batch, unless a hook has it skipped.

        Args:
            idx: number of the batch among those that are left of the epoch.
            data_batch: from the data loader.
        """
        idx += self._done
        try:
            super().run_iter(idx, data_batch)
        except SkipIteration:
            _count_less(self.runner.optim_wrapper)
            self.runner.call_hook(
                "after_train_iter", batch_idx=idx, data_batch=data_batch, outputs=None
            )
            self._iter += 1


def _count_less(wrapper: Any) -> None:
    """Have gradients that are accumulated last applied one batch earlier.

    mmengine counts the batches that have a gradient, and applies what is there where
    the number of all is reached.

    Args:
        wrapper: of the optimizer; one that does not count is left alone.
    """
    if isinstance(wrapper, OptimWrapper):
        wrapper._max_counts -= 1
        wrapper._remainder_counts = wrapper._max_counts % wrapper._accumulative_counts


@LOOPS.register_module()
class ResumableIterLoop(IterBasedTrainLoop):
    """mmengine's loop, whose workers end with it alone.

    Args:
        *args: of mmengine's loop, with **kwargs.
    """

    @property
    def dataloader(self) -> DataLoader:
        """What the batches come from."""
        return self._dataloader

    @dataloader.setter
    def dataloader(self, loader: DataLoader) -> None:
        # mmengine starts the workers next, before a hook could shield them.
        shield_workers(loader)
        if isinstance(loader.batch_sampler, ResumableBatchSampler):
            loader.batch_sampler.start_next_at(0, seed=self.runner.seed)
        self._dataloader = loader

    def run(self) -> nn.Module:
        """Train."""
        with giving_signals_back(self.runner):
            return super().run()
