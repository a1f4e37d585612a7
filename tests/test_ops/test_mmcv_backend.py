"""The operators made of mmcv's kernels, with PyTorch in the place of the kernels.

What is tested is all that happens around the kernels, on any machine. With the kernels
themselves the same calls run in test_cuda_backends.py.
"""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from operator_cases import KINDS, Case, assert_identical, assert_near

from mmdet_lite.ops import backends, mmcv_cuda, reference


def plain_gradients(value, spatial_shapes, starts, locations, weights, grad_output):
    """The reference's gradients of value, locations and weights, in double."""
    value, locations, weights = (
        tensor.detach().double().requires_grad_()
        for tensor in (value, locations, weights)
    )
    output = reference.multi_scale_deformable_attention(
        value, spatial_shapes, starts, locations, weights
    )
    return torch.autograd.grad(
        output, (value, locations, weights), grad_output.double()
    )


class EmulatedKernels:
    """mmcv's two functions: the same arguments, demands and results.

    Some of mmcv's backward kernels add to the gradients of locations and weights,
    others overwrite them, depending on the head dimensions: ``overwrites`` says which
    to be.
    """

    def __init__(self, overwrites=False):
        self.overwrites = overwrites
        self.batches = []

    def ms_deform_attn_forward(
        self, value, spatial_shapes, starts, locations, weights, *, im2col_step
    ):
        self.check(value, spatial_shapes, starts, locations, weights, im2col_step)
        output = reference.multi_scale_deformable_attention(
            *(value.double(), spatial_shapes, starts),
            *(locations.double(), weights.double()),
        )
        return output.to(value.dtype)

    def ms_deform_attn_backward(
        self,
        value,
        spatial_shapes,
        starts,
        locations,
        weights,
        grad_output,
        grad_value,
        grad_locations,
        grad_weights,
        *,
        im2col_step,
    ):
        self.check(value, spatial_shapes, starts, locations, weights, im2col_step)
        assert grad_output.is_contiguous()
        assert grad_output.dtype == value.dtype
        grad_output = grad_output.view(*locations.shape[:2], value[0, 0].numel())
        tensors = value, spatial_shapes, starts, locations, weights
        # Autograd is off inside of a registered operator, but not in another thread.
        with ThreadPoolExecutor(1) as pool:
            grads = pool.submit(plain_gradients, *tensors, grad_output).result()
        grad_value += grads[0]
        for tensor, grad in (
            (grad_locations, grads[1]),
            (grad_weights, grads[2]),
        ):
            assert tensor.is_contiguous()
            if self.overwrites:
                tensor.copy_(grad)
            else:
                tensor += grad

    def check(self, value, spatial_shapes, starts, locations, weights, im2col_step):
        for tensor in (value, spatial_shapes, starts, locations, weights):
            assert tensor.is_contiguous()
            assert tensor.numel() > 0
        assert value.dtype == locations.dtype == weights.dtype
        assert value.dtype in (torch.float32, torch.float64)
        assert spatial_shapes.dtype == starts.dtype == torch.int64
        assert len(value) % min(len(value), im2col_step) == 0
        self.batches.append(len(value))


@pytest.fixture(params=[False, True], ids=["adding", "overwriting"])
def kernels(request, monkeypatch):
    """Emulated kernels and a backend that serves CPU tensors with them."""
    emulated = EmulatedKernels(overwrites=request.param)
    monkeypatch.setattr(mmcv_cuda, "ext_module", emulated)
    served = dataclasses.replace(
        backends._BACKENDS["mmcv"], why_not=lambda device, dtype: None
    )
    monkeypatch.setitem(backends._BACKENDS, "mmcv", served)
    return emulated


@pytest.mark.parametrize("kind", KINDS)
class TestAgainstReference:
    @pytest.mark.parametrize("head_dims", [8, 24])
    def test_double(self, kernels, kind, head_dims):
        case = Case(kind, head_dims=head_dims)
        assert_near(case.run("mmcv"), case.run("reference"), 1e-12, 1e-12)

    @pytest.mark.parametrize(
        ("dtype", "tolerances"),
        [
            (torch.float32, (2e-5, 5e-5)),
            (torch.float16, (2e-3, 1e-2)),
            (torch.bfloat16, (1.6e-2, 5e-2)),
        ],
    )
    def test_lower_precision(self, kernels, kind, dtype, tolerances):
        case = Case(kind, dtype)
        results = case.run("mmcv")
        for name, tensor in case.tensors.items():
            assert results[name].dtype == tensor.dtype
        assert results["output"].dtype == dtype
        assert_near(results, case.to(torch.float64).run("reference"), *tolerances)

    def test_batch_too_large_for_one_call(self, kernels, kind, monkeypatch):
        case = Case(kind, batch=5)
        expected = case.run("mmcv")
        calls = len(kernels.batches)
        numbers = [t[0].numel() for t in case.tensors.values()]
        monkeypatch.setattr(mmcv_cuda, "MAX_NUMBERS", 2 * max(numbers))
        kernels.batches.clear()
        assert_near(case.run("mmcv"), expected, 1e-12, 1e-12)
        assert kernels.batches == [2, 2, 1] * calls

    def test_image_too_large(self, kernels, kind, monkeypatch):
        monkeypatch.setattr(mmcv_cuda, "MAX_NUMBERS", 10)
        with pytest.raises(ValueError, match="up to 10 numbers"):
            Case(kind).call("mmcv")

    @pytest.mark.parametrize("sizes", [{"queries": 0}, {"batch": 0}, {"points": 0}])
    def test_empty(self, kernels, kind, sizes):
        case = Case(kind, **sizes)
        results = case.run("mmcv")
        for name, tensor in case.tensors.items():
            assert results[name].shape == tensor.shape
            assert results[name].eq(0).all()
        assert results["output"].eq(0).all()
        assert kernels.batches == []

    def test_non_contiguous(self, kernels, kind):
        case = Case(kind)
        contiguous = case.run("mmcv")
        for name, tensor in case.tensors.items():
            case.tensors[name] = tensor.transpose(0, -1).contiguous().transpose(0, -1)
        assert_identical(case.run("mmcv"), contiguous)

    def test_int32_levels(self, kernels, kind):
        case = Case(kind)
        expected = case.run("mmcv")
        case.spatial_shapes = case.spatial_shapes.int()
        case.level_start_index = case.level_start_index.int()
        assert_identical(case.run("mmcv"), expected)

    def test_second_derivative_is_refused(self, kernels, kind):
        case = Case(kind)
        value = case.tensors["value"].requires_grad_()
        (grad,) = torch.autograd.grad(
            case.call("mmcv").square().sum(), value, create_graph=True
        )
        with pytest.raises(RuntimeError, match="backend='reference'"):
            grad.sum().backward()

    def test_compiles_without_graph_breaks(self, kernels, kind):
        case = Case(kind)
        expected = case.run("mmcv")
        case.call = torch.compile(case.call, fullgraph=True, backend="aot_eager")
        torch._dynamo.reset()
        assert_identical(case.run("mmcv"), expected)

    def test_opcheck(self, kernels, kind):
        case = Case(kind, torch.float16)
        for operator, arguments in case.operator_calls("mmcv"):
            torch.library.opcheck(operator, arguments)


def test_key_aware_attention_takes_five_calls(kernels):
    case = Case("separate key")
    case.run("mmcv")
    assert len(kernels.batches) == 5


class TestWhyNot:
    cuda = torch.device("cuda", 0)

    @pytest.fixture
    def _built_for_cuda(self, monkeypatch):
        monkeypatch.setattr(mmcv_cuda, "_CUDA_VERSION", "12.6")
        monkeypatch.setattr(mmcv_cuda, "_kernels_run", lambda device: True)

    def test_cpu(self):
        reason = mmcv_cuda.why_not(torch.device("cpu"), torch.float32)
        assert "not on cpu" in reason

    def test_mmcv_without_cuda(self, monkeypatch):
        monkeypatch.setattr(mmcv_cuda, "_CUDA_VERSION", "not available")
        reason = mmcv_cuda.why_not(self.cuda, torch.float32)
        assert "built without" in reason

    @pytest.mark.usefixtures("_built_for_cuda")
    def test_double(self):
        assert "float64" in mmcv_cuda.why_not(self.cuda, torch.float64)

    @pytest.mark.usefixtures("_built_for_cuda")
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    def test_serves(self, dtype):
        assert mmcv_cuda.why_not(self.cuda, dtype) is None

    def test_kernels_for_other_gpus(self, kernels, monkeypatch):
        cpu = torch.device("cpu")
        mmcv_cuda._compute_one.cache_clear()
        compiled = torch.compile(
            lambda ones: ones * mmcv_cuda._kernels_run(ones.device),
            fullgraph=True,
            backend="aot_eager",
        )
        assert compiled(torch.ones(1)) == 1
        # A failed launch leaves the zeros that the output was made of.
        monkeypatch.setattr(
            kernels, "ms_deform_attn_forward", lambda value, *_, **__: value * 0
        )
        mmcv_cuda._compute_one.cache_clear()
        assert not mmcv_cuda._kernels_run(cpu)
        mmcv_cuda._compute_one.cache_clear()
