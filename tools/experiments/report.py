"""Turn the results of an experiment into tables and plots.

    python tools/experiments/report.py table docs/evidence/runs bccd dino lite-dino_...
    python tools/experiments/report.py fill docs/evidence.md
    python tools/experiments/report.py plot docs/evidence/runs curves.png bccd dino ...

The first model of a table is the one that the others are compared with.
"""

import argparse

from mmdet_lite.cli import exit_on_config_error, require_writable_file
from mmdet_lite.experiments.comparison import load_runs
from mmdet_lite.experiments.curves import plot_curves
from mmdet_lite.experiments.page import fill_page
from mmdet_lite.experiments.tables import table


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    runs = argparse.ArgumentParser(add_help=False)
    runs.add_argument("runs", help="folder of results")
    models = argparse.ArgumentParser(add_help=False)
    models.add_argument("data", help="name of the data set")
    models.add_argument("models", nargs="+", help="names of the models")
    commands.add_parser("table", parents=[runs, models], help="print a table")
    fill = commands.add_parser("fill", help="write a page's figures")
    fill.add_argument("page", help="Markdown page, which names its runs")
    plot = commands.add_parser("plot", parents=[runs], help="draw AP by epoch")
    plot.add_argument("picture", help="file to write")
    plot.add_argument("data", help="name of the data set")
    plot.add_argument("models", nargs="+", help="names of the models")
    return parser.parse_args()


def main() -> None:
    """Report."""
    args = parse_args()
    with exit_on_config_error():
        if args.command == "fill":
            fill_page(args.page)
        elif args.command == "table":
            print(table(load_runs(args.runs), args.data, args.models))
        else:
            require_writable_file("picture", args.picture)
            runs = load_runs(args.runs)
            plot_curves(runs, args.data, args.models, args.picture)


if __name__ == "__main__":
    main()
