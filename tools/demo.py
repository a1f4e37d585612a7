"""Train Lite-DINO on handwritten digits, test it and draw what it finds.

    python tools/demo.py

Makes the data, trains on a processor in minutes, prints COCO's metrics and leaves the
checkpoint, the log and pictures in the work dir. `make demo` sets everything up first.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from mmcv.ops import get_compiling_cuda_version

from mmdet_lite.checkpoint.resumable import LAST_CHECKPOINT
from mmdet_lite.datasets.digits import make_digits_dataset

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIG = "configs/lite_detr/lite-dino_h3l1-2p1x3_effnet-lite0_1xb4-2e_digits.py"


def main() -> None:
    """Make the data, train, test the last checkpoint with pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work-dir",
        default="work_dirs/demo",
        help="folder for everything that is left",
    )
    parser.add_argument("--data-root", default="data/digits", help="folder of the data")
    args = parser.parse_args()
    work_dir, data_root = (
        Path(args.work_dir).absolute(),
        Path(args.data_root).absolute(),
    )

    print(f"making the digits data set in {data_root}", flush=True)
    make_digits_dataset(data_root)
    start = time.monotonic()
    run_tool(data_root, "train.py", CONFIG, "--work-dir", work_dir)
    minutes = (time.monotonic() - start) / 60
    checkpoint = Path((work_dir / LAST_CHECKPOINT).read_text())
    pictures = work_dir / "pictures"
    run_tool(
        data_root,
        "test.py",
        CONFIG,
        checkpoint,
        "--work-dir",
        work_dir,
        "--show-dir",
        pictures,
    )
    print(f"\ntrained in {minutes:.1f} minutes")
    print(f"checkpoint: {checkpoint}")
    print(f"logs:       {work_dir}")
    print(f"pictures:   {pictures} (left: ground truth, right: predictions)")


def run_tool(data_root: Path, tool: str, *arguments: str | Path) -> None:
    """Run one of the repository's tools on the data; end if it fails."""
    # mmcv may have no operators for the GPU that there is.
    without = get_compiling_cuda_version() == "not available"
    processor = {"CUDA_VISIBLE_DEVICES": ""} if without else {}
    result = subprocess.run(
        [sys.executable, str(REPOSITORY / "tools" / tool), *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, **processor, "DIGITS_ROOT": str(data_root)},
        check=False,
    )
    if result.returncode:
        raise SystemExit(result.returncode)


if __name__ == "__main__":
    main()
