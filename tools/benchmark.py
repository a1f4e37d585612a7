"""Time and memory of operators, encoders, models and training, side by side.

    python tools/benchmark.py operator --json
    python tools/benchmark.py encoder --json encoder.json
    python tools/benchmark.py model --subjects dino-stock CONFIG rt-detr-r50
    python tools/benchmark.py model --subjects CONFIG --exported detector.onnx
    python tools/benchmark.py training --config CONFIG --shape 240 320 --batch 2
    python tools/benchmark.py scaling --subject lite-dino_h3l1-2p1x3 --threads 1 2
    python tools/benchmark.py accuracy --config CONFIG --checkpoint epoch_8.pth
    python tools/benchmark.py table operator.json

Subjects take turns, so that a noisy machine is fair to all; figures are medians. On a
GPU it measures the GPU's backends by itself.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from mmdet.utils import register_all_modules
from mmengine.device import get_device
from mmengine.logging import MMLogger

from mmdet_lite.benchmark.accuracy import measure_accuracy
from mmdet_lite.benchmark.environment import require_commit, versions_of
from mmdet_lite.benchmark.measurement import (
    describe_run,
    load_measurement,
    markdown_of,
    measurement_path,
    save_measurement,
)
from mmdet_lite.benchmark.models import measure_models
from mmdet_lite.benchmark.operators import measure_operators
from mmdet_lite.benchmark.rt_detr import RT_DETR
from mmdet_lite.benchmark.scaling import measure_scaling
from mmdet_lite.benchmark.subjects import SUBJECTS
from mmdet_lite.benchmark.training import measure_training
from mmdet_lite.cli import (
    exit_on_config_error,
    positive_int,
    read_config,
    require_writable_file,
)
from mmdet_lite.deployment.runtime import RUNTIMES
from mmdet_lite.errors import ConfigError
from mmdet_lite.runtime import keep_freed_memory, warn_of_slow_autocast
from mmdet_lite.runtime.device import existing_device

REPOSITORY = Path(__file__).resolve().parents[1]
SEED = 0
DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def parse_args() -> argparse.Namespace:
    """Parse the command line; ``run`` is what the subcommand does."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    table = commands.add_parser("table", help="print a file's table in Markdown")
    table.add_argument("file", help="what --json wrote")
    table.set_defaults(run=print_table)

    kept = argparse.ArgumentParser(add_help=False)
    kept.add_argument(
        "--json",
        nargs="?",
        const=".",
        metavar="PATH",
        help="write the measurement to this .json, or in this folder (by default the "
        "current one) to a file named after the machine",
    )
    # Of the subcommands that have no such arguments.
    kept.set_defaults(run=measure, shape=(), batch=1, bfloat16=[], optimize=[])
    timed = argparse.ArgumentParser(add_help=False, parents=[kept])
    timed.add_argument("--repeats", type=positive_int, default=5, help="counted runs")
    timed.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="where to run",
    )
    timed.add_argument(
        "--give-memory-back",
        action="store_true",
        help="on a processor, leave the C library's handling of freed memory as it is",
    )
    shared = argparse.ArgumentParser(add_help=False, parents=[timed])
    add_threads(shared)
    shared.add_argument(
        "--shape", type=positive_int, nargs=2, default=(800, 1066), metavar=("H", "W")
    )
    shared.add_argument("--batch", type=positive_int, default=1, help="images")

    add_operator(
        commands.add_parser("operator", parents=[shared], help="every backend")
    )
    add_encoder(
        commands.add_parser("encoder", parents=[shared], help="inference, encoder")
    )
    add_model(commands.add_parser("model", parents=[shared], help="inference, model"))
    add_scaling(
        commands.add_parser(
            "scaling", parents=[timed], help="an encoder on images of many sizes"
        )
    )
    add_training(commands.add_parser("training", parents=[shared], help="an iteration"))
    add_accuracy(
        commands.add_parser(
            "accuracy", parents=[kept], help="metrics in float32 and under autocast"
        )
    )
    return parser.parse_args()


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add the one number of threads that all is measured with."""
    parser.add_argument(
        "--threads", type=positive_int, help="processor threads of PyTorch"
    )


def add_operator(parser: argparse.ArgumentParser) -> None:
    """Add what is measured of the operators."""
    parser.add_argument(
        "--queries",
        nargs="+",
        type=lambda text: None if text == "all" else positive_int(text),
        default=[300, 4421, None],
        help="numbers of queries, 'all' for as many as tokens",
    )
    parser.add_argument(
        "--dtypes", nargs="+", choices=DTYPES, default=["float32"], help="of features"
    )
    parser.set_defaults(
        measure=lambda args, device: measure_operators(
            args.shape,
            args.queries,
            [DTYPES[name] for name in args.dtypes],
            device,
            args.repeats,
            args.batch,
        )
    )


def add_encoder(parser: argparse.ArgumentParser) -> None:
    """Add what is measured of encoders."""
    parser.add_argument(
        "--subjects",
        nargs="+",
        default=list(SUBJECTS),
        help=f"configs, or of {', '.join((*SUBJECTS, RT_DETR))}; all but the last "
        "by default",
    )
    parser.add_argument(
        "--bfloat16",
        nargs="+",
        default=[],
        help="subjects that also run under autocast to bfloat16",
    )
    parser.add_argument(
        "--optimize",
        nargs="+",
        default=[],
        help="subjects that also run made fast for predictions",
    )
    parser.set_defaults(measure=measure_subjects)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add what is measured of whole models."""
    add_encoder(parser)
    parser.add_argument(
        "--compile",
        nargs="+",
        default=[],
        help="subjects that also run compiled by torch.compile",
    )
    parser.add_argument(
        "--graph",
        nargs="+",
        default=[],
        help="Lite subjects that also run made fast and as a CUDA graph, on a GPU",
    )
    parser.add_argument(
        "--exported",
        nargs="+",
        default=[],
        metavar="FILE",
        help="files of tools/deployment/export.py that also run",
    )
    parser.add_argument(
        "--runtimes",
        nargs="+",
        choices=RUNTIMES,
        default=[],
        help="of the files; default: onnxruntime, or torch for .pt2",
    )
    parser.set_defaults(
        measure=lambda args, device: measure_subjects(
            args,
            device,
            compiled=args.compile,
            graphed=args.graph,
            exported=args.exported,
            runtimes=args.runtimes,
        )
    )


def add_scaling(parser: argparse.ArgumentParser) -> None:
    """Add what is measured by size."""
    parser.add_argument(
        "--subject",
        default="lite-dino_h3l1-2p1x3",
        help=f"a config, or of {', '.join(SUBJECTS)}",
    )
    parser.add_argument(
        "--sides",
        type=positive_int,
        nargs="+",
        default=[320, 640, 960, 1280, 1600],
        help="of square images",
    )
    parser.add_argument(
        "--threads",
        dest="thread_counts",
        type=positive_int,
        nargs="+",
        default=[1, torch.get_num_threads()],
        help="numbers of processor threads",
    )
    parser.set_defaults(
        threads=None,
        measure=lambda args, device: measure_scaling(
            args.subject, args.sides, args.thread_counts, device, args.repeats
        ),
    )


def add_training(parser: argparse.ArgumentParser) -> None:
    """Add what is measured of a training."""
    parser.add_argument("--config", required=True, help="of the detector to train")
    parser.add_argument(
        "--stock-type", help="model.type of mmdet's own model, to run beside"
    )
    parser.set_defaults(
        measure=lambda args, device: measure_training(
            read_config(args.config),
            args.shape,
            args.batch,
            device,
            args.repeats,
            args.stock_type,
        )
    )


def add_accuracy(parser: argparse.ArgumentParser) -> None:
    """Add what is tested."""
    add_threads(parser)
    parser.add_argument("--config", required=True, help="of the detector to test")
    parser.add_argument("--checkpoint", required=True, help="its weights")
    parser.set_defaults(
        # Where mmengine's Runner tests.
        device=get_device(),
        give_memory_back=False,
        repeats=None,
        measure=lambda args, device: measure_accuracy(
            read_config(args.config), args.checkpoint
        ),
    )


def measure_subjects(
    args: argparse.Namespace, device: torch.device, **more: list[str]
) -> list[dict[str, Any]]:
    """Measure encoders or models, with what is measured of models only."""
    return measure_models(
        args.subjects,
        args.command,
        args.shape,
        device,
        args.repeats,
        batch=args.batch,
        bfloat16=args.bfloat16,
        optimized=args.optimize,
        **more,
    )


def print_table(args: argparse.Namespace) -> None:
    """Print the table of a file."""
    with exit_on_config_error():
        print(markdown_of(load_measurement(args.file)))


def measure(args: argparse.Namespace) -> None:
    """Measure, print the table, write the file."""
    register_all_modules(init_default_scope=True)
    MMLogger.get_instance("mmengine").setLevel("ERROR")
    torch.manual_seed(SEED)
    timed = args.repeats is not None
    args.shape = tuple(args.shape)
    if args.threads:
        torch.set_num_threads(args.threads)
    with exit_on_config_error():
        device = existing_device(args.device)
    if device.type == "cpu" and not args.give_memory_back:
        keep_freed_memory()
    if args.bfloat16 or not timed:
        warn_of_slow_autocast(device.type)
    run = describe_run(device)
    environment = run["environment"]
    with exit_on_config_error():
        if args.give_memory_back and args.optimize:
            raise ConfigError("--optimize keeps freed memory, --give-memory-back not")
        if args.json:
            path = measurement_path(args.json, args.command, environment)
            require_commit(path, REPOSITORY)
            require_writable_file("--json", path)
        rows = args.measure(args, device)
    packages = sorted({row.get("package") for row in rows} - {None})
    environment["versions"].update(versions_of(packages))
    measurement = {"kind": args.command, **run, "rows": rows}
    if timed:
        measurement |= {
            "image_shape": list(args.shape),
            "batch": args.batch,
            "repeats": args.repeats,
            "seed": SEED,
        }
    if args.json:
        save_measurement(path, measurement)
    print(markdown_of(measurement))


def main() -> None:
    """Do what the subcommand says."""
    args = parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
