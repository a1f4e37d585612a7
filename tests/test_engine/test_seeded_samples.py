"""Samples are drawn from their place in a run, and batches can start anywhere."""

import copy
import pickle
import random

import torch
from mmdet.registry import DATA_SAMPLERS
from mmengine.dataset import DefaultSampler
from torch.utils.data import DataLoader, Dataset, RandomSampler, Sampler

from mmdet_lite.engine import ResumableBatchSampler, SeededDataset
from mmdet_lite.engine.seeds import seed_all


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


def epochs_of(count, *args):
    """Each of a sampler that has neither seed nor epoch, as PyTorch's."""
    dataset = SeededDataset(Draws())
    batches = ResumableBatchSampler(RandomSampler(dataset), batch_size=4)
    if args:
        batches.start_next_at(*args)
    return [
        [dataset[index] for batch in batches for index in batch] for _ in range(count)
    ]


def test_a_sampler_without_epochs_has_other_draws_in_each():
    first, second = epochs_of(2)
    assert len({draw for _, draw in first + second}) == 20


def test_a_sampler_without_epochs_draws_the_same_in_the_same_epoch():
    _, second, third = epochs_of(3, 0, 0, 5)
    random.random()
    torch.rand(())
    assert epochs_of(2, 0, 1, 5) == [second, third]
    assert epochs_of(1, 4, 1, 5) == [[]]
    assert epochs_of(1, 2, 1, 5) == [second[8:]]
    assert epochs_of(1, 0, 1, 6) != [second]


def test_the_order_of_an_epoch_is_drawn_apart_from_its_iterations():
    """The first iteration draws for its model, and may draw as a sampler does."""
    states = []

    class Look(RandomSampler):
        def __iter__(self):
            states.append(torch.get_rng_state())
            return super().__iter__()

    batches = ResumableBatchSampler(Look(range(10)), batch_size=4)
    for epoch in range(3):
        batches.start_next_at(0, epoch, 7)
        list(batches)
    for iteration in range(3):
        seed_all(7, 0, iteration)
        states.append(torch.get_rng_state())
    assert len({bytes(state.numpy()) for state in states}) == 6


@DATA_SAMPLERS.register_module(force=True)
class Pairs(Sampler):
    """Batches of one's own, with no more than a data loader asks for."""

    def __init__(self, sampler, batch_size):
        self.sampler = sampler

    def __iter__(self):
        indices = iter(self.sampler)
        return zip(indices, indices, strict=False)


def test_a_batch_sampler_need_not_say_whether_it_drops_the_last():
    sampler = DefaultSampler(range(4), shuffle=False)
    batches = ResumableBatchSampler(sampler, 2, {"type": "Pairs"}, drop_last=True)
    loader = DataLoader(SeededDataset(Draws()), batch_sampler=batches)
    assert [batch[0].tolist() for batch in loader] == [[0, 1], [2, 3]]
    assert batches.drop_last


def test_a_data_set_is_reached_through_the_wrapper():
    dataset = SeededDataset(Draws())
    dataset.pipeline = "second"
    assert dataset.dataset.pipeline == "second"
    for copied in (copy.deepcopy(dataset), pickle.loads(pickle.dumps(dataset))):
        assert copied.pipeline == "second"
        assert len(copied) == 10
