"""Count FLOPs and parameters of a detector, part by part.

    python tools/analysis_tools/get_flops.py CONFIG
    python tools/analysis_tools/get_flops.py CONFIG --shape 640 640 --json flops.json
    python tools/analysis_tools/get_flops.py CONFIG --cfg-options model.type=LiteDINO

CONFIG may be one of mmdet's, mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py for example.
Nothing is downloaded and no GPU is needed; the count is the same on every machine.
mmdet_lite/flops/counter.py says what counts.
"""

import argparse
import sys

from mmdet.utils import register_all_modules

import mmdet_lite  # noqa: F401  (registers its modules)
from mmdet_lite.benchmark.measurement import save_measurement
from mmdet_lite.cli import (
    add_model_arguments,
    exit_on_config_error,
    positive_int,
    read_config,
    require_writable_file,
)
from mmdet_lite.flops.counter import count_flops, table_of


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_arguments(parser)
    parser.add_argument(
        "--shape",
        type=positive_int,
        nargs=2,
        default=(800, 1066),
        metavar=("H", "W"),
        help="height and width of the image; default 800 1066",
    )
    parser.add_argument("--json", metavar="FILE", help="write the counts there")
    return parser.parse_args()


def main() -> None:
    """Count, print a table, write the file."""
    args = parse_args()
    register_all_modules(init_default_scope=True)
    with exit_on_config_error():
        if args.json:
            require_writable_file("--json", args.json)
        cfg = read_config(args.config, args.cfg_options)
        counts = {"config": args.config, **count_flops(cfg, tuple(args.shape))}
    print(table_of(counts))
    if counts["uncounted"]:
        kinds = ", ".join(f"{kind} ({n})" for kind, n in counts["uncounted"].items())
        print(
            f"warning: not counted, so the total is too low: {kinds}", file=sys.stderr
        )
    if args.json:
        save_measurement(args.json, counts)


if __name__ == "__main__":
    main()
