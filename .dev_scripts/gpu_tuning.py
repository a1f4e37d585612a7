"""Time the Triton kernels with programs of several sizes, on a GPU.

    python .dev_scripts/gpu_tuning.py gpu-tuning.json

A program is so many rows times padded head dimensions, and so many warps. The fastest
belong into ``mmdet_lite/ops/backends/triton.py``.
"""

import argparse
import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from mmdet_lite.benchmark.measurement import describe_run, save_measurement
from mmdet_lite.benchmark.timing import time_interleaved
from mmdet_lite.ops import functional
from mmdet_lite.ops.backends import triton as backend
from mmdet_lite.ops.backends import triton_kernels
from mmdet_lite.ops.example import (
    arguments_of,
    cast_arguments,
    example_arguments,
    leaves_of,
    operator_of,
)

DEVICE = torch.device("cuda")
PROGRAMS = tuple(itertools.product((64, 128, 256, 512, 1024), (1, 2, 4)))
KERNELS = {
    "plain": ("plain_forward", "plain_backward"),
    "key-aware": ("key_aware_forward", "key_aware_backward"),
}
DTYPES = (torch.float32, torch.bfloat16)
# (height, width), batch, queries: an encoder's, and a decoder's of training.
CALLS = (((800, 1066), 4, None), ((800, 1066), 4, 1100))


class _WithWarps:
    """A kernel that is launched with another number of warps."""

    def __init__(self, kernel: Any, num_warps: int) -> None:
        self.kernel, self.num_warps = kernel, num_warps

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        launch = self.kernel[grid]
        return lambda *args, **kwargs: launch(
            *args, **{**kwargs, "num_warps": self.num_warps}
        )


@contextmanager
def programs_of(numbers: int, num_warps: int) -> Iterator[None]:
    """Launch every kernel in programs of one size."""
    names = [name for pair in KERNELS.values() for name in pair]
    kernels = {
        name: _WithWarps(getattr(triton_kernels, name), num_warps) for name in names
    }
    with (
        patch.object(backend, "FORWARD_BLOCK_NUMBERS", numbers),
        patch.object(backend, "BACKWARD_BLOCK_NUMBERS", numbers),
        patch.multiple(triton_kernels, **kernels),
    ):
        yield


def _arguments(kind: str, dtype: torch.dtype, call: tuple) -> dict[str, Any]:
    shape, batch, queries = call
    example = example_arguments(shape, queries, batch, DEVICE)
    return arguments_of(kind, cast_arguments(example, dtype))


def _operator(kind: str) -> Any:
    return partial(
        operator_of(
            kind,
            functional.key_aware_deformable_attention,
            functional.multi_scale_deformable_attention,
        ),
        backend="triton",
    )


def _runs(kind: str, arguments: dict[str, Any]) -> tuple[Any, Any]:
    """The forward pass, and the backward pass alone."""
    operator = _operator(kind)
    leaves = leaves_of(arguments)
    output = operator(**{**arguments, **leaves})
    forward = torch.no_grad()(lambda: operator(**arguments))
    backward = partial(
        torch.autograd.grad,
        output,
        list(leaves.values()),
        torch.randn_like(output),
        retain_graph=True,
    )
    return forward, backward


def _compile(case: tuple) -> None:
    """Leave a case's kernels in Triton's cache."""
    (numbers, num_warps), kind, dtype = case
    with programs_of(numbers, num_warps):
        for run in _runs(kind, _arguments(kind, dtype, ((96, 128), 1, None))):
            run()
    torch.cuda.synchronize()


def measure(repeats: int) -> list[dict[str, Any]]:
    """A row for each operator, dtype, call and size of programs."""
    cases = list(itertools.product(PROGRAMS, KERNELS, DTYPES))
    with ProcessPoolExecutor(
        max(1, (os.cpu_count() or 1) - 2), mp_context=get_context("spawn")
    ) as pool:
        list(pool.map(_compile, cases))
    rows = []
    for kind, dtype, call in itertools.product(KERNELS, DTYPES, CALLS):
        arguments = _arguments(kind, dtype, call)
        runs = {}
        for numbers, num_warps in PROGRAMS:
            with programs_of(numbers, num_warps):
                passes = _runs(kind, arguments)
            for direction, run in zip(("forward", "backward"), passes, strict=True):

                def launch(run=run, numbers=numbers, num_warps=num_warps):
                    with programs_of(numbers, num_warps):
                        run()

                runs[direction, numbers, num_warps] = launch
        for (direction, numbers, num_warps), time in time_interleaved(
            runs, repeats, DEVICE
        ).items():
            rows.append(
                {
                    "operator": kind,
                    "dtype": str(dtype).removeprefix("torch."),
                    "batch": call[1],
                    "num_queries": arguments["sampling_locations"].shape[1],
                    "direction": direction,
                    "numbers": numbers,
                    "num_warps": num_warps,
                    "milliseconds": 1e3 * time["median"],
                }
            )
    return rows


def main() -> None:
    """Measure, print the best and what is used, write all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="where to write all rows")
    parser.add_argument("--repeats", type=int, default=20)
    args = parser.parse_args()
    run = describe_run(DEVICE)
    rows = measure(args.repeats)
    save_measurement(args.file, {**run, "rows": rows})
    names = ("operator", "dtype", "batch", "num_queries", "direction")
    rows.sort(key=lambda row: tuple(row[name] for name in names))
    for case, group in itertools.groupby(
        rows, key=lambda row: tuple(row[name] for name in names)
    ):
        by_time = sorted(group, key=lambda row: row["milliseconds"])
        print(
            *case,
            *(
                f"{row['numbers']}/{row['num_warps']}: {row['milliseconds']:.3f}"
                for row in by_time
            ),
        )


if __name__ == "__main__":
    main()
