"""Export a detector as one file: an image goes in; boxes, scores, labels come out.

    python tools/deployment/export.py CONFIG WEIGHTS --format onnx --out detector.onnx
    python tools/deployment/export.py CONFIG WEIGHTS --format torch --out detector.pt2
    python tools/deployment/export.py CONFIG WEIGHTS --format onnx \\
        --out detector.onnx --verify photo.jpg another.jpg --json export.json

Channels, normalisation and test_cfg.nms are inside the file; docs/deployment.md says
what it takes. --verify compares it with the model, and the exit status is 1 where it
is too far.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from mmdet.utils import register_all_modules
from mmengine.logging import MMLogger

import mmdet_lite  # noqa: F401  (registers its modules)
from mmdet_lite.benchmark.environment import require_commit
from mmdet_lite.benchmark.measurement import describe_run, save_measurement
from mmdet_lite.cli import (
    add_model_arguments,
    exit_on_config_error,
    positive_int,
    read_config,
    require_writable_file,
)
from mmdet_lite.deployment.export import FORMATS, export_detector
from mmdet_lite.deployment.runtime import (
    RUNTIMES,
    find_images,
    read_image,
    runtimes_of,
)
from mmdet_lite.deployment.verify import MAX_BOX, MAX_SCORE, MIN_SCORE, verify_file
from mmdet_lite.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_arguments(parser)
    parser.add_argument("weights", help="checkpoint of the detector")
    parser.add_argument("--format", choices=FORMATS, required=True)
    parser.add_argument(
        "--out", type=Path, required=True, help="file to write, .onnx or .pt2"
    )
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument(
        "--shape",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="take one image of this height and width only",
    )
    sizes.add_argument(
        "--dynamic",
        action="store_true",
        help="take any height and width; the default without --shape",
    )
    parser.add_argument(
        "--batch-size",
        type=positive_int,
        help="take so many images at once only; default: any number, but one image "
        "with --shape",
    )
    parser.add_argument(
        "--opset", type=int, default=16, help="of ONNX, 16 or newer; default 16"
    )
    parser.add_argument(
        "--verify",
        nargs="+",
        metavar="IMAGE",
        help="images, or folders of them, to compare the file and the model on; exit "
        f"status 1 where an object is missed, a box is more than {MAX_BOX} pixels off, "
        f"or a score more than {MAX_SCORE}",
    )
    parser.add_argument(
        "--verify-with",
        nargs="+",
        choices=RUNTIMES,
        metavar="RUNTIME",
        help="runtimes to verify in, of onnxruntime, openvino and torch; default: that "
        "of the format",
    )
    parser.add_argument(
        "--json", type=Path, help="write the figures of --verify to this file"
    )
    parser.add_argument("--name", help="of the model in that file; default CONFIG's")
    return parser.parse_args()


def print_row(row: dict[str, Any]) -> None:
    """Print how near the file is to the model at a size, in a batch."""
    size = "×".join(map(str, row["image_shape"]))
    print(
        f"{row['runtime']}, {row['images']} images of {size} (height×width) in batches "
        f"of {row['batch']}: {row['objects']} objects of score {MIN_SCORE} "
        f"and more, {row['misses']} missed; boxes {row['box']:.1e} px off at "
        f"most, scores {row['score']:.1e}: {'ok' if row['passed'] else 'TOO FAR'}",
        flush=True,
    )


def main() -> None:
    """Export, verify, write the figures; status 1 if the file is too far off."""
    args = parse_args()
    register_all_modules(init_default_scope=True)
    MMLogger.get_instance("mmengine").setLevel("ERROR")
    with exit_on_config_error():
        if args.json:
            if not args.verify:
                raise ConfigError("--json writes the figures of --verify: give images")
            require_commit(args.json, REPOSITORY)
            require_writable_file("--json", args.json)
        require_writable_file("--out", args.out)
        cfg = read_config(args.config, args.cfg_options)
        for runtime in set(args.verify_with or []) - set(runtimes_of(args.out)):
            raise ConfigError(f"--verify-with {runtime} does not run {args.out}")
        images = [read_image(path) for path in find_images(args.verify or [])]
        module, description = export_detector(
            cfg,
            args.weights,
            args.out,
            args.format,
            tuple(args.shape) if args.shape else None,
            args.batch_size,
            args.opset,
        )
        size = args.out.stat().st_size
        print(f"wrote {args.out}, {size / 1e6:.1f} MB", flush=True)
        rows = []
        if images:
            for row in verify_file(
                args.out,
                module.model,
                images,
                description.trace_shape,
                args.verify_with or [None],
            ):
                print_row(row)
                rows.append(row)
    if args.json:
        measurement = {
            "kind": "export",
            **describe_run(torch.device("cpu")),
            "model": description.model,
            "name": args.name or Path(args.config).stem,
            "format": args.format,
            "shape": description.shape,
            "batch": description.batch,
            "trace_shape": description.trace_shape,
            "bytes": size,
            "min_score": MIN_SCORE,
            "rows": rows,
        }
        save_measurement(args.json, measurement)
    if not all(row["passed"] for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
