"""Random numbers that depend on where a run stands, and not on how it came there."""

import random

import numpy as np
import torch


def seed_all(*place: int) -> None:
    """Seed Python, NumPy and PyTorch of this process, on every device, from a place.

    Args:
        *place: integers of at least 0 that name it, such as seed, rank and iteration.
            Places that differ in one of them have independent random numbers.
    """
    seeds = [int(word) for word in np.random.SeedSequence(place).generate_state(3)]
    random.seed(seeds[0])
    np.random.seed(seeds[1])
    torch.manual_seed(seeds[2])
