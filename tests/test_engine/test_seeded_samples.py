"""Samples are drawn from their place in a run, and batches can start anywhere."""

import copy
import pickle
import random

from mmengine.dataset import DefaultSampler
from torch.utils.data import Dataset

from mmdet_lite.engine import ResumableBatchSampler, SeededDataset


class Draws(Dataset):
    pipeline = "first"

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return index, random.random()


def batches_of(seed=0, epoch=0, start=0):
    dataset = SeededDataset(Draws())
    sampler = DefaultSampler(dataset, seed=seed)
    sampler.set_epoch(epoch)
    batches = ResumableBatchSampler(sampler, batch_size=4)
    batches.start_next_at(start)
    return [[dataset[index] for index in batch] for batch in batches], batches


def test_batches_are_the_same_wherever_an_epoch_starts():
    whole, sampler = batches_of()
    assert len(whole) == len(sampler) == 3
    for start in range(4):
        random.random()
        assert batches_of(start=start)[0] == whole[start:]
    assert len(list(sampler)) == 3  # The next epoch starts at its start.


def test_every_draw_is_another():
    places = [{"seed": 0}, {"seed": 1}, {"epoch": 1}]
    draws = [
        draw
        for place in places
        for batch in batches_of(**place)[0]
        for _, draw in batch
    ]
    assert len(set(draws)) == len(draws) == 30


def test_a_data_set_is_reached_through_the_wrapper():
    dataset = SeededDataset(Draws())
    dataset.pipeline = "second"
    assert dataset.dataset.pipeline == "second"
    for copied in (copy.deepcopy(dataset), pickle.loads(pickle.dumps(dataset))):
        assert copied.pipeline == "second"
        assert len(copied) == 10
