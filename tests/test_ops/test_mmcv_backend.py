"""What happens around mmcv's kernels only: batches, the number of calls, the choice."""

import dataclasses

import pytest
import torch
from emulated_mmcv import EmulatedKernels
from operator_cases import KINDS, Case, assert_near

from mmdet_lite.ops import dispatch, probe
from mmdet_lite.ops.backends import mmcv
from mmdet_lite.ops.sizes import Sizes


@pytest.fixture
def kernels(monkeypatch):
    """Emulated kernels and a backend that serves CPU tensors with them."""
    emulated = EmulatedKernels()
    monkeypatch.setattr(mmcv, "ext_module", emulated)
    served = dataclasses.replace(
        dispatch._BACKENDS["mmcv"], why_not=lambda device, dtype, sizes: None
    )
    monkeypatch.setitem(dispatch._BACKENDS, "mmcv", served)
    return emulated


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_too_large_for_one_call_is_split(kernels, kind, monkeypatch):
    case = Case(kind, batch=5)
    expected = case.run("mmcv")
    calls = len(kernels.batches)
    numbers = [t[0].numel() for t in case.tensors.values()]
    monkeypatch.setattr(mmcv, "MAX_NUMBERS", 2 * max(numbers))
    kernels.batches.clear()
    assert_near(case.run("mmcv"), expected, 1e-12, 1e-12)
    assert kernels.batches == [2, 2, 1] * calls


def test_nothing_is_launched_for_nothing(kernels):
    Case("plain", queries=0).run("mmcv")
    assert kernels.batches == []


def test_key_aware_attention_samples_keys_level_by_level(kernels):
    case = Case("separate key")
    case.call("mmcv")
    levels = ["forward"] * len(case.spatial_shapes)
    assert kernels.calls == [*levels, "forward"]
    kernels.calls.clear()
    case.run("mmcv")
    assert kernels.calls == [*levels, "forward", "backward", "forward", "backward"]


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("query", ["backward", "forward"]),
        ("value", ["backward"]),
        ("key", ["backward", "backward"]),
        ("sampling_locations", ["backward", "backward"]),
    ],
)
def test_gradients_that_nobody_asks_for_take_no_calls(kernels, name, calls):
    case = Case("separate key")
    leaf = case.tensors[name].requires_grad_()
    output = case.call("mmcv")
    kernels.calls.clear()
    torch.autograd.grad(output.sum(), leaf)
    assert kernels.calls == calls


def test_kernels_for_other_gpus_are_found_out(kernels, monkeypatch):
    arguments = (
        mmcv.key_aware_deformable_attention,
        mmcv.multi_scale_deformable_attention,
        torch.device("cpu"),
    )
    probe.fault_of.cache_clear()
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda ones: ones * (mmcv._fault(ones.device) is None),
        fullgraph=True,
        backend="aot_eager",
    )
    assert compiled(torch.ones(1)) == 1
    assert probe.fault_of(*arguments) is None
    # A failed launch leaves the zeros that the output was made of.
    run = kernels.ms_deform_attn_forward
    monkeypatch.setattr(
        kernels,
        "ms_deform_attn_forward",
        lambda *args, **kwargs: 0 * run(*args, **kwargs),
    )
    assert probe.fault_of(*arguments) is None  # it is remembered
    probe.fault_of.cache_clear()
    assert "its output of plain attention is off by" in probe.fault_of(*arguments)
    probe.fault_of.cache_clear()


class TestWhyNot:
    cuda = torch.device("cuda", 0)

    @pytest.fixture
    def _built_for_cuda(self, monkeypatch):
        monkeypatch.setattr(mmcv, "_CUDA_VERSION", "12.6")
        monkeypatch.setattr(mmcv, "_fault", lambda device: None)

    def test_cpu(self):
        reason = mmcv.why_not(torch.device("cpu"), torch.float32)
        assert "not on cpu" in reason

    def test_mmcv_without_cuda(self, monkeypatch):
        monkeypatch.setattr(mmcv, "_CUDA_VERSION", "not available")
        reason = mmcv.why_not(self.cuda, torch.float32)
        assert "built without" in reason

    @pytest.mark.usefixtures("_built_for_cuda")
    def test_double(self):
        assert "float64" in mmcv.why_not(self.cuda, torch.float64)

    @pytest.mark.usefixtures("_built_for_cuda")
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    def test_serves(self, dtype):
        assert mmcv.why_not(self.cuda, dtype) is None

    @pytest.mark.usefixtures("_built_for_cuda")
    def test_an_image_too_large(self, monkeypatch):
        monkeypatch.setattr(mmcv, "MAX_NUMBERS", 10)
        sizes = Sizes(9, 2, 1, 4, 1, 1, num_tokens=3)
        assert "up to 10 numbers" in mmcv.why_not(self.cuda, torch.float32, sizes)
        sizes = sizes._replace(num_tokens=2)
        assert mmcv.why_not(self.cuda, torch.float32, sizes) is None

    def test_wrong_results_on_a_gpu(self, monkeypatch):
        monkeypatch.setattr(mmcv, "_CUDA_VERSION", "12.6")
        monkeypatch.setattr(mmcv, "_fault", lambda device: "its output is off")
        assert mmcv.why_not(self.cuda, torch.float32) == "its output is off"
