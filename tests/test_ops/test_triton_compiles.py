"""The Triton kernels compile for GPUs that are not there, and fit their registers.

The operators are called as ever, with a driver that only knows which GPU to compile
for; so what compiles is what a launch would compile.
"""

import dataclasses
import re
import subprocess
from types import SimpleNamespace

import pytest
import torch
from operator_cases import KINDS, Case

from mmdet_lite.ops import dispatch
from mmdet_lite.ops.backends import triton as triton_backend

triton = pytest.importorskip("triton")

pytestmark = pytest.mark.skipif(
    triton_backend._IS_INTERPRETED, reason="the interpreter compiles nothing"
)


@pytest.fixture(params=[80, 90], ids=["sm_80", "sm_90"])
def compiled(request, monkeypatch):
    """Kernels that were compiled, in the order of their calls; nothing is launched."""
    from triton.backends.compiler import GPUTarget

    kernels = []
    run = triton.JITFunction.run

    def compile_only(self, *args, grid, warmup, **kwargs):
        kernels.append(run(self, *args, grid=grid, warmup=True, **kwargs))

    driver = SimpleNamespace(
        get_current_target=lambda: GPUTarget("cuda", request.param, 32),
        # Triton keeps compiled kernels by the number of the device.
        get_current_device=lambda: request.param,
        get_current_stream=lambda device: 0,
    )
    monkeypatch.setattr(triton.runtime.driver, "_active", driver)
    monkeypatch.setattr(triton.JITFunction, "run", compile_only)
    served = dataclasses.replace(
        dispatch._BACKENDS["triton"], why_not=lambda device, dtype, sizes: None
    )
    monkeypatch.setitem(dispatch._BACKENDS, "triton", served)
    return kernels


def resources(kernel, tmp_path):
    """What a compiled kernel takes, in the terms of cuobjdump."""
    binary = tmp_path / "kernel.cubin"
    binary.write_bytes(kernel.asm["cubin"])
    output = subprocess.run(
        [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", str(binary)],
        capture_output=True,
        text=True,
        check=True,
    )
    return {
        name: int(number)
        for name, number in re.findall(
            r"\b(REG|STACK|SHARED|LOCAL):(\d+)", output.stdout
        )
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_kernels_spill_no_registers(compiled, kind, dtype, tmp_path):
    # The sizes of the published models, but for the maps.
    shapes = ((8, 8), (4, 4), (2, 2), (1, 1))
    case = Case(kind, dtype, heads=8, head_dims=32, shapes=shapes, points=4)
    case.run("triton")
    name = "plain" if kind == "plain" else "key_aware"
    assert [kernel.name for kernel in compiled] == [
        f"{name}_forward",
        f"{name}_backward",
    ]
    for kernel in compiled:
        used = resources(kernel, tmp_path)
        assert used["STACK"] == used["LOCAL"] == 0
        assert used["SHARED"] == 0
        # 20 warps a multiprocessor of Ampere or Hopper, out of 65,536 registers.
        assert used["REG"] <= 96


def test_other_sizes_do_not_compile_again(compiled):
    for queries, batch in ((11, 2), (16, 1), (1, 3)):
        shapes = ((queries, queries), (4, 3))
        Case("plain", torch.float32, batch, queries, shapes=shapes).run("triton")
    assert len({id(kernel) for kernel in compiled}) == 2
