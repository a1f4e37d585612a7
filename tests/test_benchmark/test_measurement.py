"""Where figures come from is said once, however many files they lie in."""

import torch

from mmdet_lite.benchmark.environment import describe_environment
from mmdet_lite.benchmark.measurement import conditions_of


def test_what_was_measured_in_one_place_differs_by_commit_only():
    first = describe_environment(torch.device("cpu")) | {"commit": "a"}
    second, elsewhere = first | {"commit": "b"}, first | {"threads": 64}
    alone = conditions_of(first)
    assert alone.endswith("; commit a")
    assert conditions_of(first, first) == alone
    place = alone.removesuffix("; commit a")
    assert conditions_of(first, second) == f"{place}; commits a, b"
    assert conditions_of(first, elsewhere, second) == (
        f"{place}; commits a, b; {conditions_of(elsewhere)}"
    )
