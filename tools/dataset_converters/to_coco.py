"""Make a data set in Pascal VOC's or YOLO's layout one in COCO's format.

    python tools/dataset_converters/to_coco.py data/mine --out data/mine_coco
    python tools/dataset_converters/check_data.py --data-root data/mine_coco

Finds the sets, says what is wrong with label files and pictures, writes train.json,
val.json and images/ through supervision, and checks what it wrote. Ends with status 0
where nothing is wrong, 1 where something is, 2 where it cannot be told.

    pip install "supervision>=0.31.2,<0.32"
"""

import argparse
from pathlib import Path

from mmdet.utils import register_all_modules
from mmengine.config import Config

import mmdet_lite  # noqa: F401  (registers its modules)
from mmdet_lite.cli import (
    add_problem_options,
    exit_on_config_error,
    own_data_sources,
    print_problems,
    require_writable_folder,
)
from mmdet_lite.datasets.conversion import (
    find_labels,
    read_labels,
    require_new_folder,
    write_coco,
)
from mmdet_lite.datasets.image_problems import quick_image_problems
from mmdet_lite.datasets.problems import report, serious
from mmdet_lite.errors import ConfigError


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="folder of the data set, or YOLO's YAML file")
    parser.add_argument("--out", required=True, help="new folder to write to")
    parser.add_argument(
        "--val-fraction",
        type=float,
        metavar="PART",
        help="part of the training pictures to validate on, where no set is for that",
    )
    parser.add_argument(
        "--faulty-data",
        choices=["stop", "skip"],
        default="stop",
        help="write nothing if a label file or picture has a fault, as by default, or "
        "leave such pictures out",
    )
    add_problem_options(parser)
    return parser.parse_args()


def main() -> None:
    """Find, read, write, check."""
    args = parse_args()
    register_all_modules(init_default_scope=True)
    with exit_on_config_error():
        require_new_folder(args.out)
        out = Path(args.out).absolute()
        if out.exists():
            require_writable_folder("--out", out)
        else:  # It is made with what goes into it.
            require_writable_folder("the folder of --out,", out.parent)
        files = find_labels(args.source)
        if files is None:
            raise ConfigError(
                f"{args.source} has neither XML files, as Pascal VOC's layout, nor a "
                "YAML file with names or classes.txt, as YOLO's"
            )
        data = read_labels(files, args.val_fraction, args.workers)
        print("\n".join([data.summary(), *report(data.problems, args.examples)]))
        faulty = bool(serious(data.problems))
        if faulty and args.faulty_data == "stop":
            print("nothing was written; --faulty-data skip leaves such pictures out")
            raise SystemExit(1)
        write_coco(data, args.out)
        sources = own_data_sources(args.out)
        if {"val", "test"} <= data.splits.keys():
            sources += own_data_sources(args.out, val_file="test.json")[1:]
        num_faults = print_problems(
            Config(), sources, quick_image_problems, args.examples
        )
    if num_faults:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
