"""Draw how a training went: loss, AP by epoch, precision by recall.

    python tools/analysis_tools/plot_run.py WORK_DIR --out run.png

The last needs a file of detections in WORK_DIR, which a test leaves there:

    python tools/test.py CONFIG CHECKPOINT \
        --cfg-options test_evaluator.outfile_prefix=WORK_DIR/results
"""

import argparse

from mmdet_lite.cli import exit_on_config_error, require_writable_file
from mmdet_lite.visualization.run_curves import plot_run


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work_dir", help="folder that the training left")
    parser.add_argument(
        "--out", required=True, metavar="PICTURE", help="file to write, such as run.png"
    )
    return parser.parse_args()


def main() -> None:
    """Draw, and say what could not be drawn."""
    args = parse_args()
    with exit_on_config_error():
        require_writable_file("--out", args.out)
        missing = plot_run(args.work_dir, args.out)
    for line in missing:
        print(line)
    print(args.out)


if __name__ == "__main__":
    main()
