"""Batches that are the same in a resumed run: their order, and what augments them."""

from collections.abc import Iterator
from itertools import islice
from numbers import Integral
from typing import Any

from mmdet.registry import DATA_SAMPLERS, DATASETS
from mmengine.dist import get_rank
from torch.utils.data import BatchSampler, Dataset, Sampler

from .seeds import seed_all

# Index of a sample in its data set, and the place that its random numbers come from.
SeededIndex = tuple[int, tuple[int, ...]]


@DATASETS.register_module()
class SeededDataset(Dataset):
    """A data set whose samples are loaded with random numbers of their own.

    In a worker too, however many there are and whatever each loaded before. Everything
    else is the data set's inside.

    Args:
        dataset (dict or Dataset): the data set, or its config.
    """

    def __init__(self, dataset: dict | Dataset) -> None:
        self.dataset: Any = (
            DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        )

    def __getattr__(self, name: str) -> Any:
        # Copies and pickles ask before there is anything to ask.
        if name.startswith("__") or "dataset" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        # Hooks give a data set another pipeline for the last epochs.
        if name == "dataset":
            super().__setattr__(name, value)
        else:
            setattr(self.dataset, name, value)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int | SeededIndex) -> Any:
        """Load a sample; a plain index leaves the random numbers as they are."""
        if isinstance(index, tuple):
            index, place = index
            seed_all(*place)
        return self.dataset[index]


@DATA_SAMPLERS.register_module()
class ResumableBatchSampler(Sampler[list[SeededIndex]]):
    """Batches of another batch sampler, which can start in the middle of an epoch.

    The batches that are left out are not loaded. Each index comes with a place in the
    run for :class:`SeededDataset`: seed, rank, epoch, batch, and position in the batch.
    Seed and epoch are the sampler's, if it has them; PyTorch's samplers have neither.
    They draw from the process's generators, which are seeded at the start of an epoch.

    Args:
        sampler (Sampler): of indices.
        batch_size (int): indices of a batch.
        batch_sampler (dict, optional): config of the batch sampler. By default
            PyTorch's.
        drop_last (bool): of PyTorch's. Defaults to False.
    """

    def __init__(
        self,
        sampler: Sampler,
        batch_size: int,
        batch_sampler: dict | None = None,
        drop_last: bool = False,
    ) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        self.batch_sampler: Any = (
            BatchSampler(sampler, batch_size, drop_last)
            if batch_sampler is None
            else DATA_SAMPLERS.build(
                batch_sampler,
                default_args={"sampler": sampler, "batch_size": batch_size},
            )
        )
        # What a config names need not have one.
        self.drop_last = getattr(self.batch_sampler, "drop_last", drop_last)
        self._start = 0
        self._epoch = 0
        self._seed = 0

    def start_next_at(
        self, batch: int, epoch: int | None = None, seed: int | None = None
    ) -> None:
        """Let the next epoch, and that only, start at a batch of a number.

        Args:
            batch: how many are left out.
            epoch: number of the next epoch where the sampler has none. By default one
                more than the last.
            seed: of this epoch and those that follow where the sampler has none. By
                default as before, at first 0.
        """
        self._start = batch
        self._epoch = self._epoch if epoch is None else epoch
        self._seed = self._seed if seed is None else seed

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[list[SeededIndex]]:
        start, self._start = self._start, 0
        seed = self._of_sampler("seed", self._seed)
        epoch = self._of_sampler("epoch", self._epoch)
        self._epoch += 1
        # The same on every rank, as for a sampler that shares out what it drew. No
        # iteration's place, of seed, rank and number, which NumPy fills up with zeros.
        seed_all(seed, 0, epoch, 1)
        place = (seed, get_rank(), epoch)
        for number, batch in enumerate(
            islice(self.batch_sampler, start, None), start=start
        ):
            yield [
                (index, (*place, number, position))
                for position, index in enumerate(batch)
            ]

    def _of_sampler(self, name: str, default: int) -> int:
        """An attribute of the sampler, or what stands for it."""
        value = getattr(self.sampler, name, None)
        return int(value) if isinstance(value, Integral) else default
