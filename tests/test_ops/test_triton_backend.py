"""The Triton kernels on any machine: interpreted, and when they are not to be had."""

import dataclasses
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from operator_cases import KINDS, Case
from python_process import run_python
from torch._subclasses.fake_tensor import FakeTensorMode

from mmdet_lite.ops import available_backends, dispatch, probe
from mmdet_lite.ops.backends import mmcv, reference
from mmdet_lite.ops.backends import triton as triton_backend
from mmdet_lite.ops.sizes import Sizes

OWN_CASES = Path(__file__).with_name("test_triton_kernels.py")
CASES = Path(__file__).with_name("test_conformance.py")
CUDA = torch.device("cuda", 0)
CPU = torch.device("cpu")


@pytest.mark.slow
@pytest.mark.skipif(triton_backend._TRITON_IS_MISSING, reason="Triton is not installed")
@pytest.mark.skipif(torch.cuda.is_available(), reason="the cases run on the GPU here")
def test_interpreted_kernels_against_the_reference():
    # Triton reads the variable when it defines a kernel: a process of its own.
    result = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"),
            *("-W", "ignore", str(CASES), str(OWN_CASES), "-k", "triton"),
        ],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=CASES.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed" in result.stdout
    assert "cannot run here" not in result.stdout


class TestWork:
    """What the kernels are told to write: nothing that nobody reads."""

    @pytest.fixture
    def launches(self, monkeypatch):
        """Kernels by name with the results that have numbers; nothing is computed."""
        launches = []

        def launch(kernel, block_numbers, inputs, results, *_, **options):
            launches.append((kernel, [result for result in results if result.numel()]))
            for result in results:
                result.zero_()

        monkeypatch.setattr(triton_backend, "_launch", launch)
        served = dataclasses.replace(
            dispatch._BACKENDS["triton"], why_not=lambda device, dtype, sizes: None
        )
        monkeypatch.setitem(dispatch._BACKENDS, "triton", served)
        return launches

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("requires_grad", [False, True])
    def test_without_gradients_the_output_alone(self, launches, kind, requires_grad):
        case = Case(kind, torch.float16)
        case.tensors["value"].requires_grad_(requires_grad)
        with torch.set_grad_enabled(not requires_grad):
            output = case.call("triton")
        ((_, results),) = launches
        assert [result.dtype for result in results] == [torch.float16]
        assert output.data_ptr() == results[0].data_ptr()

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
    def test_the_output_is_written_as_it_is_returned(self, launches, dtype):
        case = Case("key is value", dtype)
        case.tensors["value"].requires_grad_()
        output = case.call("triton")
        ((_, results),) = launches
        assert output.data_ptr() == results[0].data_ptr()
        # Besides, what the derivative needs of one that is rounded, and the log-sum.
        exact = [] if dtype == torch.float32 else [output.shape]
        assert [each.shape for each in results[1:-1]] == exact
        assert {each.dtype for each in results[1:]} == {torch.float32}

    @pytest.mark.parametrize("kind", KINDS)
    def test_gradients_that_are_asked_for_alone(self, launches, kind):
        case = Case(kind, torch.float16)
        for name, tensor in case.tensors.items():
            leaf = tensor.detach().requires_grad_()
            case.call("triton", **{name: leaf}).sum().backward()
            _, (backward, results) = launches
            assert backward.endswith("backward")
            assert [result.shape for result in results] == [leaf.shape]
            launches.clear()


class TestWhyNot:
    @pytest.fixture(autouse=True)
    def _an_ampere_gpu(self, monkeypatch):
        self.set_capability(monkeypatch, (8, 0))
        monkeypatch.setattr(triton_backend, "_TRITON_IS_MISSING", False)
        monkeypatch.setattr(triton_backend, "_IS_INTERPRETED", False)
        monkeypatch.setattr(triton_backend, "_fault", lambda device: None)

    def set_capability(self, monkeypatch, capability):
        monkeypatch.setattr(
            torch.cuda, "get_device_capability", lambda device=None: capability
        )

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    def test_serves(self, dtype):
        assert triton_backend.why_not(CUDA, dtype) is None

    def test_cpu(self):
        assert "not on cpu" in triton_backend.why_not(CPU, torch.float32)

    def test_interpreted(self, monkeypatch):
        monkeypatch.setattr(triton_backend, "_IS_INTERPRETED", True)
        assert triton_backend.why_not(CPU, torch.float32) is None
        assert "triton" in available_backends(CPU)
        # It is slower than everything else. An entry that is taken out of the registry
        # and put back would be its last: the order is what 'auto' prefers.
        others = {n: b for n, b in dispatch._BACKENDS.items() if n != "cpp"}
        monkeypatch.setattr(dispatch, "_BACKENDS", others)
        chosen = dispatch.select_backend("auto", CPU, torch.float32)
        assert chosen.name == "reference"

    def test_triton_missing(self, monkeypatch):
        monkeypatch.setattr(triton_backend, "_TRITON_IS_MISSING", True)
        assert "not installed" in triton_backend.why_not(CUDA, torch.float32)

    def test_double(self):
        assert "float64" in triton_backend.why_not(CUDA, torch.float64)

    def test_old_gpu(self, monkeypatch):
        self.set_capability(monkeypatch, (7, 5))
        assert "8.0" in triton_backend.why_not(CUDA, torch.float32)

    def test_does_not_break_a_graph(self):
        torch._dynamo.reset()
        compiled = torch.compile(
            lambda ones: ones * (triton_backend.why_not(CUDA, ones.dtype) is None),
            fullgraph=True,
            backend="aot_eager",
        )
        assert compiled(torch.ones(1)) == 1

    def test_auto_prefers_it_to_mmcv(self, monkeypatch):
        chosen = dispatch.select_backend("auto", CUDA, torch.float32)
        assert chosen.name == "triton"


def test_importing_the_package_does_not_define_the_kernels(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "import mmdet_lite.ops\n"
        "print('mmdet_lite.ops.backends.triton_kernels' in sys.modules)"
    )
    result = run_python(script)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "False"


class TestFallingThrough:
    """``'auto'`` on a GPU that is not here, by what the backends say of it."""

    @pytest.fixture(autouse=True)
    def _a_gpu(self, monkeypatch):
        monkeypatch.setattr(
            torch.cuda, "get_device_capability", lambda device=None: (9, 0)
        )
        monkeypatch.setattr(triton_backend, "_TRITON_IS_MISSING", False)
        monkeypatch.setattr(triton_backend, "_IS_INTERPRETED", False)
        monkeypatch.setattr(triton_backend, "_fault", lambda device: None)
        monkeypatch.setattr(dispatch, "_WARNED_OF", set())
        monkeypatch.setattr(mmcv, "_CUDA_VERSION", "12.6")
        monkeypatch.setattr(mmcv, "_fault", lambda device: None)

    def test_kernels_that_compute_wrongly_are_passed_over_with_the_reason(
        self, monkeypatch
    ):
        monkeypatch.setattr(triton_backend, "_fault", lambda device: "it is off by 1")
        with pytest.warns(UserWarning, match="'triton' cannot run here: it is off"):
            chosen = dispatch.select_backend("auto", CUDA, torch.float32)
        assert chosen.name == "mmcv"

    def test_what_is_too_large_for_one_is_left_to_the_next(self):
        sizes = Sizes(1, 900, 8, 32, 4, 4, num_tokens=2**23)
        with pytest.warns(UserWarning, match="less than 2147418112 rows"):
            chosen = dispatch.select_backend("auto", CUDA, torch.float32, sizes)
        assert chosen.name == "reference"  # mmcv takes less still
        sizes = sizes._replace(num_tokens=2**20)
        assert dispatch.select_backend("auto", CUDA, torch.float32, sizes).name == (
            "triton"
        )


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def in_bfloat16_by_default():
    torch.set_default_dtype(torch.bfloat16)
    yield
    torch.set_default_dtype(torch.float32)


def test_a_backend_is_tried_whatever_the_caller_has_switched_on(
    deterministic, in_bfloat16_by_default
):
    def run(operator, **arguments):
        assert arguments["value"].dtype == torch.float32
        assert not torch.are_deterministic_algorithms_enabled()
        assert not torch.is_autocast_enabled("cpu")
        return operator(**arguments)

    operators = (
        reference.key_aware_deformable_attention,
        reference.multi_scale_deformable_attention,
    )
    probe.fault_of.cache_clear()
    with (
        FakeTensorMode(),
        torch.inference_mode(),
        torch.autocast("cpu"),
        torch.device("meta"),
    ):
        tried = probe.fault_of(*(partial(run, each) for each in operators), CPU)
    assert tried is None
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    probe.fault_of.cache_clear()


def test_a_backend_that_fails_is_named_once(monkeypatch):
    def fail(**arguments):
        raise OSError("no such compiler\nand more")

    probe.fault_of.cache_clear()
    reason = probe.fault_of(fail, fail, CPU)
    assert reason == "plain attention failed: OSError: no such compiler"
    probe.fault_of.cache_clear()
