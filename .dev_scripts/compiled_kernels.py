"""Compile the Triton kernels for GPUs that are not there, and read what they take."""

import dataclasses
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget

from mmdet_lite.ops.dispatch import all_backends, force_backend


@dataclasses.dataclass(frozen=True)
class Launch:
    """A kernel that would have been launched.

    Attributes:
        kernel: Triton's ``CompiledKernel``.
        tensors: its tensors, by the names of the kernel's arguments without ``_ptr``.
    """

    kernel: Any
    tensors: dict[str, Tensor]


@contextmanager
def compile_only(capability: int) -> Iterator[list[Launch]]:
    """Have the operators compile their Triton kernels and launch nothing.

    The operators are called as ever, with tensors on the processor and a driver that
    only knows which GPU to compile for; so what compiles is what a launch would
    compile. Results hold no meaning.

    Args:
        capability: of the GPU, such as 80.

    Yields:
        list: a launch for each kernel, in the order of their calls.
    """
    launches = []
    run = triton.JITFunction.run

    def compile_kernel(self, *args, grid, warmup, **kwargs):
        kernel = run(self, *args, grid=grid, warmup=True, **kwargs)
        named = zip(self.arg_names, args, strict=False)
        tensors = {
            name.removesuffix("_ptr"): argument
            for name, argument in named
            if isinstance(argument, Tensor)
        }
        launches.append(Launch(kernel, tensors))

    driver = SimpleNamespace(
        get_current_target=lambda: GPUTarget("cuda", capability, 32),
        # Triton keeps compiled kernels by the number of the device.
        get_current_device=lambda: capability,
        get_current_stream=lambda device: 0,
    )
    (backend,) = (each for each in all_backends() if each.name == "triton")
    with (
        patch.object(triton.runtime.driver, "_active", driver),
        patch.object(triton.JITFunction, "run", compile_kernel),
        force_backend(backend),
    ):
        yield launches


def resources_of(kernel: Any) -> dict[str, int]:
    """What a compiled kernel takes.

    Args:
        kernel: Triton's ``CompiledKernel``.

    Returns:
        dict: ``registers`` of a thread, ``spilled`` bytes of it, ``shared`` bytes and
        ``threads`` of a block.
    """
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder, "kernel.cubin")
        binary.write_bytes(kernel.asm["cubin"])
        output = subprocess.run(
            [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", str(binary)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    used = {
        name: int(number)
        for name, number in re.findall(r"\b(REG|STACK|SHARED|LOCAL):(\d+)", output)
    }
    return {
        "registers": used["REG"],
        "spilled": used["STACK"] + used["LOCAL"],
        # Triton's own is given to a block by its launch.
        "shared": used["SHARED"] + kernel.metadata.shared,
        "threads": 32 * kernel.metadata.num_warps,
    }
