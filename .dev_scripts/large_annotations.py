"""Load annotations of the size of COCO's training set in several processes.

    python .dev_scripts/large_annotations.py docs/measurements/large-annotations.json

As many rows as COCO's ``instances_train2017.json``, with polygons of its mean length,
are written to a temporary file. Each process of a run then loads them as a training
does, after the check that ``tools/train.py`` makes first.
"""

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from mmdet.registry import DATASETS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from torch import distributed

from mmdet_lite.benchmark.measurement import describe_run, save_measurement
from mmdet_lite.cli import check_data, positive_int
from mmdet_lite.runtime.memory import read_peak_memory, reset_peak_memory

NUM_IMAGES, NUM_ANNOTATIONS, NUM_CLASSES = 118_287, 860_001, 80
# Numbers in the outline of an object.
POLYGON = 44
KINDS = ("CocoDataset", "CheckedCocoDataset")


def write_annotations(path: Path) -> None:
    """Write a file of the size of COCO's."""
    draw = random.Random(0)
    images = [
        {"id": n, "file_name": f"{n:012}.jpg", "width": 640, "height": 480}
        for n in range(NUM_IMAGES)
    ]
    annotations = []
    for number in range(NUM_ANNOTATIONS):
        x, y = draw.randrange(540), draw.randrange(380)
        outline = [round(draw.uniform(x, x + 99), 2) for _ in range(POLYGON)]
        annotations.append(
            {
                "id": number,
                "image_id": draw.randrange(NUM_IMAGES),
                "category_id": draw.randrange(NUM_CLASSES),
                "bbox": [x, y, 99, 99],
                "area": 9801,
                "iscrowd": 0,
                "segmentation": [outline],
            }
        )
    categories = [{"id": n, "name": str(n)} for n in range(NUM_CLASSES)]
    content = {
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }
    path.write_text(json.dumps(content))


def load(path: Path, kind: str) -> dict[str, Any]:
    """Check and load the file as one process of a training; say what it took."""
    register_all_modules(init_default_scope=True)
    distributed.init_process_group("gloo")
    dataset = {
        "type": kind,
        "ann_file": str(path),
        "data_prefix": {"img": ""},
        "metainfo": {"classes": tuple(map(str, range(NUM_CLASSES)))},
        "filter_cfg": {"filter_empty_gt": True, "min_size": 32},
        "pipeline": [],
    }
    processor = torch.device("cpu")
    before = reset_peak_memory(processor)
    start = time.perf_counter()
    check_data(
        Config({"launcher": "pytorch", "train_dataloader": {"dataset": dataset}}),
        ("train",),
    )
    checked = time.perf_counter()
    distributed.barrier()
    loading = time.perf_counter()
    rows = len(DATASETS.build(dataset))
    loaded = time.perf_counter()
    distributed.destroy_process_group()
    return {
        "rows": rows,
        "check_seconds": checked - start,
        "load_seconds": loaded - loading,
        "peak_bytes": read_peak_memory(processor) - before,
    }


def load_in_processes(path: Path, kind: str, count: int) -> list[dict[str, Any]]:
    """What each process of a run says, by rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
        **{"WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"},
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, str(path), "--load", kind],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    said = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit(f"a process of {kind} failed")
    return [json.loads(text.splitlines()[-1]) for text in said]


def main() -> None:
    """Measure each kind of data set, or load one as a process of such a run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="JSON to write")
    parser.add_argument("--processes", type=positive_int, default=2)
    parser.add_argument("--load", choices=KINDS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.load:
        print(json.dumps(load(args.file, args.load)))
        return
    with TemporaryDirectory() as folder:
        path = Path(folder, "train.json")
        write_annotations(path)
        measurement = {
            **describe_run(torch.device("cpu")),
            "bytes": path.stat().st_size,
            "images": NUM_IMAGES,
            "annotations": NUM_ANNOTATIONS,
            "runs": {
                kind: load_in_processes(path, kind, args.processes) for kind in KINDS
            },
        }
    save_measurement(args.file, measurement)


if __name__ == "__main__":
    main()
