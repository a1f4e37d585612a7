"""What published limits of a GPU say of a kernel: how full it is, how fast at best.

All of it is computed; nothing here asks a GPU.
"""

import math
from dataclasses import dataclass

from torch import Tensor

WARP = 32


@dataclass(frozen=True)
class Multiprocessor:
    """Limits of a multiprocessor, from the CUDA programming guide.

    Attributes:
        shared: bytes of shared memory, of which each block takes 1 KiB more than it
            asks for.
        warps: that it holds at a time.
        blocks: that it holds at a time.
        registers: of 32 bits, a quarter of them in each of its partitions.
        register_unit: registers are given to a warp by so many.
    """

    shared: int
    warps: int = 64
    blocks: int = 32
    registers: int = 65536
    register_unit: int = 256


MULTIPROCESSORS = {80: Multiprocessor(164 * 1024), 90: Multiprocessor(228 * 1024)}
"""By compute capability."""


@dataclass(frozen=True)
class Card:
    """Published bandwidths in bytes a second.

    Attributes:
        memory: of its DRAM.
        cache: of its L2 cache, which reads 5,120 bytes a clock. NVIDIA says so of the
            A100; for the H200 the same is taken.
    """

    memory: float
    cache: float


CARDS = {
    "A100 80GB": Card(2039e9, 5120 * 1.410e9),
    "H200 SXM": Card(4800e9, 5120 * 1.755e9),
}


def occupancy(
    multiprocessor: Multiprocessor, registers: int, threads: int, shared: int
) -> float:
    """The share of a multiprocessor's warps that a kernel can have in it at a time.

    Args:
        multiprocessor: its limits.
        registers: of a thread.
        threads: of a block.
        shared: bytes of a block.
    """
    warps = math.ceil(threads / WARP)
    unit = multiprocessor.register_unit
    registers_of_warp = math.ceil(registers * WARP / unit) * unit
    warps_by_registers = 4 * (multiprocessor.registers // 4 // registers_of_warp)
    blocks = min(
        multiprocessor.blocks,
        multiprocessor.warps // warps,
        warps_by_registers // warps,
        multiprocessor.shared // (shared + 1024),
    )
    return blocks * warps / multiprocessor.warps


@dataclass(frozen=True)
class Traffic:
    """Bytes of a call.

    Attributes:
        least: moved if every input is read once and every result written once.
        requested: if every corner of every sample is read, and added to, on its own.
        allocated: of all that the call allocates.
    """

    least: int
    requested: int
    allocated: int

    def seconds_on(self, card: Card) -> tuple[float, float]:
        """The least time, at the speed of DRAM, and that of all requests to the L2."""
        return self.least / card.memory, self.requested / card.cache


_SAMPLED = ("value", "key", "grad_value", "grad_key")
_SUMS = ("grad_value", "grad_key")


def traffic_of(launches: list[dict[str, Tensor]]) -> Traffic:
    """The bytes of a call: of its launches, and of what PyTorch does around them.

    Sums are set to zero before a launch and, in half precision, rounded after it.

    Args:
        launches: their tensors, by the names of the kernel's arguments. One that stands
            in for another that is not there counts once, and one without numbers not
            at all.
    """
    least = requested = allocated = 0
    for tensors in launches:
        locations, value = tensors["locations"], tensors["value"]
        corners = 4 * locations.numel() // 2
        tensors = _distinct(tensors)
        for name, tensor in tensors.items():
            least += tensor.nbytes
            requested += (
                corners * value.shape[3] * tensor.element_size()
                if name in _SAMPLED
                else tensor.nbytes
            )
        for name, tensor in _results(tensors).items():
            allocated += tensor.nbytes
            if name not in _SUMS:
                continue
            around = tensor.nbytes
            if tensor.dtype != value.dtype:
                rounded = tensor.numel() * value.element_size()
                around += tensor.nbytes + rounded
                allocated += rounded
            least += around
            requested += around
    return Traffic(least, requested, allocated)


def _distinct(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor that has numbers once, under the name by which it is sampled."""
    distinct: dict[int, str] = {}
    for name in sorted(tensors, key=lambda name: name not in _SAMPLED):
        if tensors[name].numel():
            distinct.setdefault(tensors[name].data_ptr(), name)
    return {name: tensors[name] for name in distinct.values()}


def _results(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the kernel writes."""
    if "grad_output" not in tensors:
        written = {"output", "exact_output", "log_sum"}
    else:
        written = {name for name in tensors if name.startswith("grad_")}
        written.remove("grad_output")
    return {name: tensors[name] for name in tensors if name in written}
