"""The Triton kernels compile for GPUs that are not there, and fit their registers."""

import itertools

import pytest
import torch
from gpu_limits import traffic_of
from operator_cases import KINDS, Case
from torch.profiler import ProfilerActivity, profile

from mmdet_lite.ops.backends import triton as triton_backend

pytest.importorskip("triton")
from compiled_kernels import compile_only, resources_of

pytestmark = pytest.mark.skipif(
    triton_backend._IS_INTERPRETED, reason="the interpreter compiles nothing"
)


@pytest.fixture(params=[80, 90], ids=["sm_80", "sm_90"])
def launches(request):
    """What the operators would have launched, in the order of their calls."""
    with compile_only(request.param) as launches:
        yield launches


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_kernels_spill_no_registers(launches, kind, dtype):
    # The sizes of the published models, but for the maps.
    shapes = ((8, 8), (4, 4), (2, 2), (1, 1))
    case = Case(kind, dtype, heads=8, head_dims=32, shapes=shapes, points=4)
    case.call("triton")
    case.run("triton")
    name = "plain" if kind == "plain" else "key_aware"
    assert [launch.kernel.name for launch in launches] == [
        f"{name}_forward",
        f"{name}_forward",
        f"{name}_backward",
    ]
    for launch in launches:
        used = resources_of(launch.kernel)
        assert used["spilled"] == 0
        assert used["shared"] == 0
        # 12 warps a multiprocessor of Ampere or Hopper, out of 65,536 registers. The
        # backward kernels were faster with few warps of many rows than the reverse.
        assert used["registers"] <= 168


def test_other_sizes_do_not_compile_again(launches):
    for queries, batch in ((11, 2), (16, 1), (1, 3)):
        shapes = ((queries, queries), (4, 3))
        Case("plain", torch.float32, batch, queries, shapes=shapes).run("triton")
    assert len({id(launch.kernel) for launch in launches}) == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_call_allocates_what_is_computed(launches, kind, dtype):
    case = Case(kind, dtype)
    for tensor in case.tensors.values():
        tensor.requires_grad_()
    gradient = torch.ones_like(case.call("triton"))
    launches.clear()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        output = case.call("triton")
        torch.autograd.grad(output, list(case.tensors.values()), gradient)
    allocations = [
        event.nbytes()
        for event in profiled.profiler.kineto_results.events()
        if event.name() == "[memory]"
    ]
    computed = traffic_of([launch.tensors for launch in launches]).allocated
    assert max(itertools.accumulate(allocations)) == computed
