"""Hold what is said of an image's memory against what a process takes.

    python .dev_scripts/large_images.py docs/measurements/large-images.json

Each model and size runs in a process of its own, on the processor, as tools/test.py
does: freed memory is kept. docs/reliability.md gets the table by
.dev_scripts/reliability_page.py.
"""

import argparse
import multiprocessing
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules

from mmdet_lite.benchmark.measurement import describe_run, save_measurement
from mmdet_lite.cli import read_config
from mmdet_lite.model_config import without_pretrained_weights
from mmdet_lite.runtime import keep_freed_memory
from mmdet_lite.runtime.memory import read_peak_memory, reset_peak_memory
from mmdet_lite.runtime.memory_need import memory_need

ROOT = Path(__file__).resolve().parents[1]
_SMALL = "lite-dino_h3l1-2p1x3_effnet-lite0_1xb2-8e_bccd.py"
CASES = (
    ("Lite-DINO, EfficientNet-Lite0", _SMALL, (1024, 1365)),
    ("Lite-DINO, EfficientNet-Lite0", _SMALL, (3000, 4000)),
    ("Lite-DINO, R50", "lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py", (1024, 1365)),
    ("DINO, R50", "mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py", (800, 1066)),
)


def measure(case: tuple[str, str, tuple[int, int]]) -> dict[str, Any]:
    """Bytes that are said and that the process grew by, of a model and a size."""
    name, config, (height, width) = case
    register_all_modules(init_default_scope=True)
    keep_freed_memory()
    path = config if "::" in config else str(ROOT / "configs" / "lite_detr" / config)
    torch.manual_seed(0)
    model = MODELS.build(without_pretrained_weights(read_config(path).model)).eval()
    shapes = ("img_shape", "ori_shape", "pad_shape", "batch_input_shape")
    meta = {**dict.fromkeys(shapes, (height, width)), "scale_factor": (1.0, 1.0)}
    samples = [DetDataSample(metainfo=meta)]
    said = memory_need(model, torch.zeros(1, 3, height, width), samples)
    before = reset_peak_memory(torch.device("cpu"))
    image = torch.rand(1, 3, height, width)
    with torch.no_grad():
        model(image, samples, mode="predict")
    grown = read_peak_memory(torch.device("cpu")) - before
    return {"model": name, "shape": [height, width], "said": said, "grown": grown}


def main() -> None:
    """Measure all of them, one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="JSON file to write")
    args = parser.parse_args()
    run = describe_run(torch.device("cpu"))
    processes = multiprocessing.get_context("spawn")
    rows = []
    for case in CASES:
        with processes.Pool(1) as pool:
            rows.append(pool.apply(measure, (case,)))
        print(rows[-1], flush=True)
    save_measurement(args.out, {**run, "rows": rows})


if __name__ == "__main__":
    main()
