"""What a session of nox asks for does not depend on what ran in its place before."""

import os
import runpy
import sys
from types import SimpleNamespace

import pytest
from repository_root import REPOSITORY


@pytest.fixture
def noxfile(monkeypatch, tmp_path):
    """The names of noxfile.py, whose sessions copy nothing and test nothing."""
    monkeypatch.setattr(os, "environ", dict(os.environ))  # It takes PYTHONPATH away.
    stub = SimpleNamespace(
        session=lambda **_: lambda function: function,
        options=SimpleNamespace(),
        Session=object,
    )
    monkeypatch.setitem(sys.modules, "nox", stub)
    names = runpy.run_path(str(REPOSITORY / "noxfile.py"))
    pins = tmp_path / names["TESTED"]
    pins.parent.mkdir()
    pins.write_text("torch==2.9.9\nmmcv==2.1.0\nmmengine==0.10.7\n")
    inside = names["on_openmmlab"].__globals__
    monkeypatch.setitem(inside, "copy_checkout", lambda session: tmp_path)
    monkeypatch.setitem(inside, "run_tests", lambda session, python: None)
    return names


@pytest.mark.parametrize(
    ("session", "torch"),
    [
        ("openmmlab", "torch==2.9.9"),
        ("openmmlab_newest", "torch==2.9.9"),
        ("openmmlab_oldest", "torch==2.6.0"),
    ],
)
def test_the_torch_is_named_lest_that_of_an_earlier_run_is_kept(
    noxfile, session, torch
):
    calls = []
    noxfile[session](SimpleNamespace(run=lambda *_, env, **__: calls.append(env)))
    assert calls == [{"TORCH": torch}]
