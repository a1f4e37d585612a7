"""Write the model zoo's tables from its rows and from what was measured.

    python .dev_scripts/model_zoo.py count [CONFIG ...]   # builds and counts them
    python .dev_scripts/model_zoo.py record WORK_DIR   # of a training or a test
    python .dev_scripts/model_zoo.py write   # README.md, metafile.yml
    python .dev_scripts/model_zoo.py plot docs/images/gflops-ap.png

The rows stand in configs/lite_detr/model_zoo.yml, measurements in docs/measurements.
"""

import argparse
import json
from pathlib import Path

import torch
from mmdet.utils import register_all_modules
from zoo import configs_of, read_zoo
from zoo_measurements import measure_complexity, read_training
from zoo_page import write_zoo
from zoo_plot import draw_published

import mmdet_lite  # noqa: F401  (registers its modules)
from mmdet_lite.benchmark.measurement import (
    describe_run,
    load_measurement,
    save_measurement,
)
from mmdet_lite.cli import exit_on_config_error
from mmdet_lite.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[1]
MEASUREMENTS = REPOSITORY / "docs" / "measurements"


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    count = commands.add_parser("count", help="build and count configs")
    count.add_argument(
        "configs", nargs="*", help="as model_zoo.yml names them; all if there is none"
    )
    count.add_argument(
        "--shape", type=int, nargs=2, default=(800, 1066), metavar=("H", "W")
    )
    record = commands.add_parser("record", help="keep the metrics of a training")
    record.add_argument(
        "work_dir", help="work dir of the training, or of a test of its last checkpoint"
    )
    commands.add_parser("write", help="write README.md and metafile.yml")
    plot = commands.add_parser("plot", help="draw published AP against GFLOPs")
    plot.add_argument("image", help="file to write")
    return parser.parse_args()


def main() -> None:
    """Measure, or write what was measured."""
    args = parse_args()
    register_all_modules(init_default_scope=True)
    with exit_on_config_error():
        if args.command == "count":
            count(args.configs, tuple(args.shape))
        elif args.command == "record":
            training = read_training(args.work_dir)
            path = MEASUREMENTS / "trained" / f"{Path(training['config']).stem}.json"
            save_measurement(path, training)
            print(json.dumps(training["metrics"], indent=1))
        elif args.command == "write":
            write_zoo(REPOSITORY)
        else:
            draw_published(read_zoo(REPOSITORY)).savefig(args.image, dpi=150)


def count(names: list[str], image_shape: tuple[int, int]) -> None:
    """Count models and write them beside those that were counted on such an image."""
    path = MEASUREMENTS / "complexity.json"
    every = configs_of(read_zoo(REPOSITORY))
    unknown = set(names) - set(every)
    if unknown:
        raise ConfigError(f"model_zoo.yml does not name {', '.join(sorted(unknown))}")
    known = load_measurement(path) if names else {}
    counts = known["complexity"] if known.get("image_shape") == [*image_shape] else {}
    for name in names or every:
        counts[name] = measure_complexity(REPOSITORY, name, image_shape)
    save_measurement(
        path,
        {
            # Of the last that counted, maybe a part of them.
            **describe_run(torch.device("cpu")),
            "image_shape": list(image_shape),
            "complexity": {name: counts[name] for name in every if name in counts},
        },
    )


if __name__ == "__main__":
    main()
