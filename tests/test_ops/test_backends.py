"""The choice of a backend: automatic, by name, by environment."""

import subprocess
import sys

import pytest
import torch
from operator_inputs import make_inputs
from python_process import run_python

from mmdet_lite.ops import (
    BackendUnavailableError,
    available_backends,
    dispatch,
    key_aware_deformable_attention,
)
from mmdet_lite.ops.backends import reference
from mmdet_lite.ops.check import Check, check_backends
from mmdet_lite.ops.dispatch import (
    Backend,
    all_backends,
    force_backend,
    register_backend,
    select_backend,
)


@pytest.fixture
def gpu_only_backend(monkeypatch):
    """A preferred backend that serves nothing here, beside the real ones."""
    backend = Backend(
        name="gpu_only",
        key_aware=None,
        plain=None,
        why_not=lambda device, dtype, sizes: "it needs a GPU",
    )
    monkeypatch.setattr(
        dispatch, "_BACKENDS", {"gpu_only": backend, **dispatch._BACKENDS}
    )


def test_the_reference_serves_every_dtype():
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert "reference" in available_backends("cpu", dtype)


def test_auto_passes_over_a_backend_that_cannot_run(gpu_only_backend):
    chosen = select_backend("auto", torch.device("cpu"), torch.float32)
    assert chosen.name != "gpu_only"
    assert "gpu_only" not in available_backends()


def test_a_backend_that_cannot_run_says_why(gpu_only_backend):
    with pytest.raises(BackendUnavailableError, match=r"gpu_only.*it needs a GPU"):
        key_aware_deformable_attention(**make_inputs().key_aware(), backend="gpu_only")


def test_an_unknown_backend_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'auto'.*'reference'.*but got 'fast'"):
        key_aware_deformable_attention(**make_inputs().key_aware(), backend="fast")


def test_the_environment_takes_the_place_of_auto(monkeypatch, gpu_only_backend):
    monkeypatch.setenv("MMDET_LITE_BACKEND", "gpu_only")
    with pytest.raises(BackendUnavailableError):
        select_backend("auto", torch.device("cpu"), torch.float32)
    chosen = select_backend("reference", torch.device("cpu"), torch.float32)
    assert chosen.name == "reference"


def test_a_forced_backend_takes_every_call_until_the_end():
    def choose(name):
        return select_backend(name, torch.device("cpu"), torch.float32)

    def fail_inside():
        with force_backend(forced):
            assert all(choose(name) is forced for name in ("auto", "cpp", "triton"))
            raise KeyError

    forced = Backend(name="forced", key_aware=None, plain=None, why_not=None)
    before = choose("auto")
    with pytest.raises(KeyError):
        fail_inside()
    assert choose("auto") is before
    assert forced not in all_backends()


def test_two_backends_cannot_share_a_name():
    with pytest.raises(ValueError, match="reference"):
        register_backend(dispatch._BACKENDS["reference"])


def test_the_module_prints_what_can_run_and_why_not():
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "mmdet_lite.ops"],
        capture_output=True,
        text=True,
        check=True,
    )
    cpu, cuda = result.stdout.split("\ncuda\n")
    assert "reference  float16, bfloat16, float32, float64" in cpu
    if not torch.cuda.is_available():
        assert cuda.count("no: PyTorch sees no CUDA device") == len(all_backends())


def run_check(*arguments):
    return run_python(
        *("-m", "mmdet_lite.ops", "check"),
        *("--shape", 64, 64, "--device", "cpu", *arguments),
    )


def test_a_check_holds_what_runs_against_the_definition():
    result = run_check()
    assert result.returncode == 0, result.stdout
    assert f"reference  float64   {'plain':<28} ok" in result.stdout
    assert f"mmcv       float32   {'all':<28} not run: " in result.stdout


def test_a_check_fails_where_what_was_asked_for_did_not_run():
    result = run_check("--backend", "mmcv")
    assert result.returncode == 1
    assert "mmcv did not run\nno backend ran on cpu\n" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--device", "xpu"), "error: --device xpu cannot be used: "),
        (("--shape", 0, 64), "at least 1 is expected, but got '0'"),
        (("--queries", 0), "at least 1 is expected, but got '0'"),
    ],
)
def test_what_cannot_be_checked_is_a_line(arguments, message):
    result = run_check(*arguments)
    assert result.returncode == 2
    assert message in result.stderr.splitlines()[-1]


def test_a_check_fails_on_a_wrong_result(monkeypatch):
    wrong = Backend(
        name="wrong",
        key_aware=lambda **arguments: (
            2 * reference.key_aware_deformable_attention(**arguments)
        ),
        plain=reference.multi_scale_deformable_attention,
        why_not=lambda device, dtype, sizes: None,
    )
    results = list(check_backends([wrong], torch.device("cpu"), (64, 64)))
    assert [result.passed for result in results] == [True, False, False, False] * 4
    nothing = Check("none", torch.float32, "plain", {"output": float("inf")})
    assert not nothing.passed
