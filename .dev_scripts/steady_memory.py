"""Detect in images of ever new sizes, and keep what memory the process holds.

    python .dev_scripts/steady_memory.py docs/measurements/steady-memory.json

Each case runs in a process of its own, in one thread, and prints a line of JSON for
every fifty images. It needs glibc 2.33 or newer. docs/reliability.md gets the table by
.dev_scripts/reliability_page.py.
"""

import argparse
import ctypes
import gc
import json
import multiprocessing
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmdet.utils import register_all_modules

from mmdet_lite.benchmark.measurement import describe_run, save_measurement
from mmdet_lite.cli import positive_int, read_config
from mmdet_lite.model_config import without_pretrained_weights
from mmdet_lite.runtime import keep_freed_memory

ROOT = Path(__file__).resolve().parents[1]
CONFIG = "lite-dino_h3l1-2p1x3_effnet-lite0_1xb2-8e_bccd.py"
SIDES = (64, 224)
THREADS = 1
# Whether freed memory is kept, as the tools do, and variables of the process.
CASES: dict[str, tuple[bool, dict[str, str]]] = {
    "as it is": (False, {}),
    "freed memory kept": (True, {}),
    "without oneDNN's cache": (False, {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "0"}),
}


class MallInfo(ctypes.Structure):
    """``struct mallinfo2`` of glibc's <malloc.h>."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def held() -> dict[str, int]:
    """MiB that are resident, and those that were allocated and not freed."""
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = MallInfo
    gc.collect()
    info = libc.mallinfo2()
    status = Path("/proc/self/status").read_text()
    resident = int(status.split("VmRSS:")[1].split()[0])
    return {
        "resident": round(resident / 2**10),
        "allocated": round((info.uordblks + info.hblkhd) / 2**20),
    }


def measure(images: int, every: int) -> Iterator[dict[str, Any]]:
    """What the process holds after each ``every`` images of random sizes."""
    register_all_modules(init_default_scope=True)
    torch.manual_seed(0)
    cfg = read_config(str(ROOT / "configs" / "lite_detr" / CONFIG)).model
    model = MODELS.build(without_pretrained_weights(cfg)).eval()
    sizes = random.Random(0)
    for number in range(1, images + 1):
        height, width = sizes.randint(*SIDES), sizes.randint(*SIDES)
        data = demo_mm_inputs(1, [[3, height, width]])
        with torch.no_grad():
            model.test_step(data)
        if number == 1 or number % every == 0:
            yield {"images": number, **held()}
    ctypes.CDLL(None).malloc_trim(0)
    yield {"images": "trimmed", **held()}


def run_case(keep: bool, images: int, every: int) -> list[dict[str, Any]]:
    """Measure in this process, which is for nothing else, and print as it goes."""
    if keep:
        keep_freed_memory()
    rows = []
    for row in measure(images, every):
        print(json.dumps(row), flush=True)
        rows.append(row)
    return rows


def main() -> None:
    """Measure the cases one after the other, and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="JSON to write")
    parser.add_argument("--images", type=positive_int, default=1000)
    parser.add_argument("--every", type=positive_int, default=50)
    args = parser.parse_args()
    torch.set_num_threads(THREADS)  # Of this process, which is the one described.
    measurement = {
        **describe_run(torch.device("cpu")),
        "config": CONFIG,
        "sides": SIDES,
        "threads": THREADS,
        "runs": {},
    }
    processes = multiprocessing.get_context("spawn")
    for name, (keep, variables) in CASES.items():
        print(name, flush=True)
        # Both are read while PyTorch is imported.
        variables = {"OMP_NUM_THREADS": str(THREADS), **variables}
        with patch.dict(os.environ, variables), processes.Pool(1) as pool:
            rows = pool.apply(run_case, (keep, args.images, args.every))
        measurement["runs"][name] = rows
    save_measurement(args.file, measurement)


if __name__ == "__main__":
    main()
