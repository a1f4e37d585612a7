"""What is the C++ kernels' own: threads, instruction sets, levels, their absence."""

import importlib.util
import os
import shutil
import subprocess
import sys

import pytest
import torch
from operator_cases import KINDS, SHAPES, Case, assert_identical

from mmdet_lite.ops import BackendUnavailableError, available_backends, dispatch
from mmdet_lite.ops.backends import cpp
from mmdet_lite.ops.build import build_extension
from mmdet_lite.ops.sizes import Sizes

needs_kernels = pytest.mark.skipif(
    cpp.why_not(torch.device("cpu"), torch.float32) is not None,
    reason=f"{cpp.why_not(torch.device('cpu'), torch.float32)}",
)


@needs_kernels
class TestNaNInOneQuery:
    # Numbers of samples that fill whole vectors, and that leave some of one empty.
    @pytest.mark.parametrize(("shapes", "points"), [(SHAPES, 1), (SHAPES, 4)])
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(
        "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16]
    )
    @pytest.mark.parametrize("threads", [1, 2])
    def test_stays_in_that_query(self, kind, dtype, shapes, points, threads):
        case = Case(
            kind, dtype, queries=300, head_dims=16, shapes=shapes, points=points
        )
        name = {
            "plain": "attention_weights",
            "predicted logits": "predicted_logits",
        }.get(kind, "query")
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            expected = case.run("cpp")
            case.tensors[name][0, 1] = float("nan")
            results = case.run("cpp")
        finally:
            torch.set_num_threads(before)
        others = torch.arange(300) != 1
        for part in ("output", name, "sampling_locations"):
            assert torch.equal(results[part][:, others], expected[part][:, others])
        assert results["output"][0, 1].isnan().all()
        assert torch.equal(results["value"][1], expected["value"][1])


@needs_kernels
class TestDifferentiation:
    @pytest.mark.parametrize("kind", KINDS)
    def test_gradcheck(self, kind):
        case = Case(kind, batch=1, queries=3, heads=2, head_dims=3, points=2)
        names = list(case.tensors)
        leaves = [tensor.requires_grad_() for tensor in case.tensors.values()]

        def function(*tensors):
            return case.call("cpp", **dict(zip(names, tensors, strict=True)))

        assert torch.autograd.gradcheck(function, leaves, eps=1e-6)

    @pytest.mark.parametrize("kind", KINDS)
    def test_some_inputs_need_no_gradient(self, kind):
        case = Case(kind)
        expected = case.run("cpp")["value"]
        value = case.tensors["value"].requires_grad_()
        output = case.call("cpp")
        generator = torch.Generator().manual_seed(1)
        output.backward(torch.randn(output.shape, generator=generator).double())
        assert torch.equal(value.grad, expected)


@needs_kernels
class TestDeterminism:
    @pytest.mark.parametrize("kind", KINDS)
    def test_same_bits_for_any_number_of_threads(self, kind):
        case = Case(kind, torch.float32, queries=997, head_dims=32, points=4)
        threads = torch.get_num_threads()
        try:
            expected = case.run("cpp")
            for number in (1, 2, 3, 2):
                torch.set_num_threads(number)
                assert_identical(case.run("cpp"), expected)
        finally:
            torch.set_num_threads(threads)


@needs_kernels
class TestInstructionSets:
    def test_they_are_chosen_as_pytorch_chooses_its_own(self):
        kernels = torch.ops.mmdet_lite.cpu_kernels()
        capability = torch.backends.cpu.get_cpu_capability()
        assert (kernels == "avx2") == (capability in ("AVX2", "AVX512"))

    def test_the_baseline_kernels_are_right_too(self):
        """A machine with AVX2 runs them where PyTorch is told to do without."""
        code = (
            "import runpy, torch, mmdet_lite.ops\n"
            "print(torch.ops.mmdet_lite.cpu_kernels())\n"
            "runpy.run_module('mmdet_lite.ops', run_name='__main__')"
        )
        result = subprocess.run(
            [
                *(sys.executable, "-W", "ignore", "-c", code, "check"),
                *("--device", "cpu", "--backend", "cpp", "--shape", "160", "160"),
            ],
            # Read once in a process.
            env={**os.environ, "ATEN_CPU_CAPABILITY": "default"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        # The forks of mmdet print when they are imported.
        assert "baseline" in result.stdout.splitlines()
        assert result.stdout.count(" ok ") == 16


@needs_kernels
class TestChoice:
    def test_kernels_check_levels_themselves(self):
        case = Case("key is value")
        tensors = case.tensors
        operator = torch.ops.mmdet_lite.key_aware_attention_cpu
        for shapes, starts in (
            (case.spatial_shapes + 1, case.level_start_index),
            (case.spatial_shapes, case.level_start_index + 1),
            (case.spatial_shapes - 1, case.level_start_index),
            (-case.spatial_shapes, case.level_start_index),
        ):
            with pytest.raises(ValueError, match="tokens"):
                operator(
                    tensors["query"],
                    tensors["value"],
                    None,
                    shapes,
                    starts,
                    tensors["sampling_locations"],
                    None,
                )

    def test_auto_is_the_fused_backend(self):
        assert available_backends()[0] == "cpp"
        case = Case("key is value")
        assert torch.equal(case.call("auto"), case.call("cpp"))

    @pytest.mark.parametrize(
        "sign",
        [
            "torch.jit.is_tracing",
            "torch.onnx.is_in_onnx_export",
            "torch.compiler.is_exporting",
        ],
    )
    def test_auto_is_the_reference_in_an_export(self, monkeypatch, sign):
        monkeypatch.setattr(sign, lambda: True, raising=False)
        arguments = (torch.device("cpu"), torch.float32)
        assert dispatch.select_backend("auto", *arguments).name == "reference"
        assert dispatch.select_backend("cpp", *arguments).name == "cpp"


def test_more_tokens_than_the_kernels_number_are_left_to_others():
    sizes = Sizes(1, 1, 1, 8, 1, 1, num_tokens=2**31)
    reason = cpp.why_not(torch.device("cpu"), torch.float32, sizes)
    assert "2147483646 tokens, not 2147483648" in reason


@needs_kernels
def test_kernels_of_an_older_version_are_told(monkeypatch):
    # Theirs ends with another argument, as this operator's does.
    older = torch.ops.mmdet_lite.plain_attention_cpu
    monkeypatch.setattr(torch.ops.mmdet_lite, "key_aware_attention_cpu", older)
    assert "of an older version: python -m" in cpp._load_library()


@needs_kernels
def test_kernels_that_an_exported_package_brought_serve(tmp_path):
    """Registered twice the same operators would end the process."""
    beside = tmp_path / "detector.ops.so"
    shutil.copy(importlib.util.find_spec("mmdet_lite.ops._cpu").origin, beside)
    script = f"""
import torch
torch.ops.load_library({str(beside)!r})
from mmdet_lite.ops import available_backends
print(available_backends())
"""
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "cpp" in result.stdout


class TestWithoutKernels:
    @pytest.fixture(autouse=True)
    def _kernels_missing(self, monkeypatch):
        monkeypatch.setattr(cpp, "_LOAD_FAILURE", "no compiler was there")
        monkeypatch.setattr(dispatch, "_WARNED_OF", set())

    def test_asking_by_name_raises(self):
        with pytest.raises(BackendUnavailableError, match="no compiler was there"):
            Case("plain").call("cpp")

    def test_auto_warns_once_and_falls_back(self, recwarn):
        case = Case("plain")
        for _ in range(2):
            assert torch.equal(case.call("auto"), case.call("reference"))
        assert available_backends() == ["reference"]
        messages = [str(warning.message) for warning in recwarn]
        assert sum("no compiler was there" in message for message in messages) == 1

    def test_another_dtype_is_warned_of_as_well(self):
        for dtype in (torch.float64, torch.float32):
            with pytest.warns(UserWarning, match="no compiler was there"):
                dispatch.select_backend("auto", torch.device("cpu"), dtype)

    def test_the_warning_stops_no_compiled_graph(self):
        compiled = torch.compile(Case("plain").call, backend="eager", fullgraph=True)
        with pytest.warns(UserWarning, match="no compiler was there"):
            output = compiled("auto")
        assert torch.equal(output, Case("plain").call("reference"))


class TestBuild:
    def test_the_kernels_are_compiled_into_a_folder(self, tmp_path, monkeypatch):
        # The default optimisation takes half a minute; the last one given counts.
        compiler = tmp_path / "compiler"
        compiler.write_text('#!/bin/sh\nexec c++ "$@" -O0\n')
        compiler.chmod(0o755)
        monkeypatch.setenv("CXX", str(compiler))
        monkeypatch.setenv("CC", str(compiler))
        (tmp_path / "ops").mkdir()
        library = build_extension(tmp_path / "ops")
        assert library.parent == tmp_path / "ops"
        assert library.stat().st_size > 100_000

    def test_a_compiler_that_fails_is_told(self, tmp_path, monkeypatch):
        monkeypatch.setenv("CXX", "false")
        monkeypatch.setenv("CC", "false")
        with pytest.raises(RuntimeError, match="the kernels could not be built"):
            build_extension(tmp_path)
        assert not list(tmp_path.iterdir())
