"""Test the trained cells of a grid once more, with other settings.

    python tools/experiments/retest.py docs/evidence/grid.yml docs/evidence/runs-nms \
        --cfg-options model.test_cfg.nms.type=nms model.test_cfg.nms.iou_threshold=0.8

The results are JSON files in the folder that is named second, of which
tools/experiments/report.py makes tables as of those of the trainings. The checkpoints
of these must still lie in the work dir.
"""

import argparse

from mmdet_lite.cli import add_config_options, exit_on_config_error, positive_int
from mmdet_lite.experiments.grid import read_grid
from mmdet_lite.experiments.run import retest_grid


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("grid", help="YAML file of the grid")
    parser.add_argument("runs", help="folder for the results")
    parser.add_argument(
        "--work-dir", default="work_dirs/experiments", help="folder of the trainings"
    )
    parser.add_argument(
        "--threads", type=positive_int, help="processor threads of a test"
    )
    add_config_options(parser, required=True)
    return parser.parse_args()


def main() -> None:
    """Test what was trained; status 1 if a test failed."""
    args = parse_args()
    with exit_on_config_error():
        failed = retest_grid(
            read_grid(args.grid),
            args.work_dir,
            args.runs,
            args.cfg_options,
            args.threads,
            say=lambda line: print(line, flush=True),
        )
    if failed:
        raise SystemExit(f"{len(failed)} tests failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
