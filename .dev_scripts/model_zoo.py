"""Write the model zoo's tables from its rows and from what was measured.

    python .dev_scripts/model_zoo.py count   # builds and counts every config
    python .dev_scripts/model_zoo.py record WORK_DIR   # of a training
    python .dev_scripts/model_zoo.py write   # README.md, metafile.yml
    python .dev_scripts/model_zoo.py plot docs/images/gflops-ap.png

The rows stand in configs/lite_detr/model_zoo.yml, measurements in docs/measurements.
"""

import argparse
import json
from pathlib import Path

from mmdet.utils import register_all_modules
from zoo import configs_of, read_zoo
from zoo_measurements import measure_complexity, read_training
from zoo_page import write_zoo
from zoo_plot import plot_published

import mmdet_lite  # noqa: F401  (registers its modules)
from mmdet_lite.benchmark.measurement import save_measurement
from mmdet_lite.cli import exit_on_config_error

REPOSITORY = Path(__file__).resolve().parents[1]
MEASUREMENTS = REPOSITORY / "docs" / "measurements"


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    count = commands.add_parser("count", help="build and count every config")
    count.add_argument(
        "--shape", type=int, nargs=2, default=(800, 1066), metavar=("H", "W")
    )
    record = commands.add_parser("record", help="keep the metrics of a training")
    record.add_argument("work_dir", help="work dir of the training")
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
            counts = {
                name: measure_complexity(REPOSITORY, name, tuple(args.shape))
                for name in configs_of(read_zoo(REPOSITORY))
            }
            save_measurement(
                MEASUREMENTS / "complexity.json",
                {"image_shape": list(args.shape), "complexity": counts},
            )
        elif args.command == "record":
            training = read_training(args.work_dir)
            path = MEASUREMENTS / "trained" / f"{Path(training['config']).stem}.json"
            save_measurement(path, training)
            print(json.dumps(training["metrics"], indent=1))
        elif args.command == "write":
            write_zoo(REPOSITORY)
        else:
            plot_published(read_zoo(REPOSITORY), args.image)


if __name__ == "__main__":
    main()
