"""Where figures come from is said once, however many files they lie in."""

import sys

import pytest
import torch

from mmdet_lite.benchmark.environment import describe_environment
from mmdet_lite.benchmark.measurement import conditions_of, describe_run


@pytest.mark.parametrize("given", ["tools/a.py", "{repository}/tools/../tools/a.py"])
def test_a_run_is_the_command_from_the_root_of_the_repository(
    repository, monkeypatch, given
):
    monkeypatch.chdir(repository)
    script = given.format(repository=repository)
    monkeypatch.setattr(sys, "argv", [script, "--json", "a b.json"])
    run = describe_run(torch.device("cpu"))
    assert run["command"] == "python tools/a.py --json 'a b.json'"
    assert run["environment"] == describe_environment(torch.device("cpu"))


def test_a_script_from_elsewhere_is_named_by_its_whole_path(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "a.py")])
    run = describe_run(torch.device("cpu"))
    assert run["command"] == f"python {tmp_path.resolve() / 'a.py'}"


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
