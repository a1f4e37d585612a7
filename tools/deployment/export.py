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
import shlex
import sys
from pathlib import Path

import torch
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.logging import MMLogger

import mmdet_lite  # noqa: F401  (registers its modules)
from mmdet_lite.benchmark.environment import describe_environment, require_commit
from mmdet_lite.benchmark.measurement import save_measurement
from mmdet_lite.cli import (
    add_model_arguments,
    exit_on_config_error,
    positive_int,
    read_config,
    require_writable_file,
)
from mmdet_lite.deployment.description import Description
from mmdet_lite.deployment.module import DetectorModule, build_module
from mmdet_lite.deployment.onnx_file import export_onnx
from mmdet_lite.deployment.runtime import (
    RUNTIMES,
    find_images,
    load_detector,
    read_image,
)
from mmdet_lite.deployment.torch_package import export_torch
from mmdet_lite.deployment.verify import MAX_BOX, MAX_SCORE, MIN_SCORE, verify
from mmdet_lite.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]
DEFAULT_SHAPE = (800, 1066)


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_arguments(parser)
    parser.add_argument("weights", help="checkpoint of the detector")
    parser.add_argument("--format", choices=["onnx", "torch"], required=True)
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


def export(args: argparse.Namespace, cfg: Config) -> tuple[DetectorModule, Description]:
    """Build the detector and write its file."""
    shape = tuple(args.shape) if args.shape else None
    if shape is not None and min(shape) < 32:
        raise ConfigError(f"--shape must be at least 32 32, but is {shape}")
    if args.format == "onnx" and args.out.suffix != ".onnx":
        raise ConfigError(
            f"--out must end in .onnx for --format onnx, but is {args.out}"
        )
    module, description = build_module(cfg, args.weights, shape, args.batch_size)
    if args.format == "onnx":
        export_onnx(
            module, args.out, trace_shape_of(description), description, args.opset
        )
    else:
        export_torch(module, args.out, trace_shape_of(description), description)
    return module, description


def trace_shape_of(description: Description) -> tuple[int, int]:
    """The size to trace with: the only one, or that of the test pipeline."""
    if description.shape:
        return description.shape
    return description.scale[::-1] if description.scale else DEFAULT_SHAPE


def verify_file(
    args: argparse.Namespace, module: DetectorModule, description: Description
) -> list[dict]:
    """Compare the file with the model in every runtime, and print the figures."""
    images = [read_image(path) for path in find_images(args.verify)]
    rows = []
    for runtime in args.verify_with or [None]:
        detector = load_detector(args.out, runtime)
        name = type(detector).__name__.removesuffix("Detector")
        for row in verify(module.model, detector, images, trace_shape_of(description)):
            size = "×".join(map(str, row["image_shape"]))
            print(
                f"{name}, {row['images']} images of {size} (height×width) in batches "
                f"of {row['batch']}: {row['objects']} objects of score {MIN_SCORE} "
                f"and more, {row['misses']} missed; boxes {row['box']:.1e} px off at "
                f"most, scores {row['score']:.1e}: "
                f"{'ok' if row['passed'] else 'TOO FAR'}",
                flush=True,
            )
            rows.append({"runtime": name, **row})
    return rows


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
        if args.verify:
            find_images(args.verify)
        module, description = export(args, cfg)
        size = args.out.stat().st_size
        print(f"wrote {args.out}, {size / 1e6:.1f} MB", flush=True)
        rows = verify_file(args, module, description) if args.verify else []
    if args.json:
        measurement = {
            "kind": "export",
            "command": f"python tools/deployment/export.py {shlex.join(sys.argv[1:])}",
            "model": description.model,
            "name": args.name or Path(args.config).stem,
            "format": args.format,
            "shape": description.shape,
            "batch": description.batch,
            "trace_shape": trace_shape_of(description),
            "bytes": size,
            "min_score": MIN_SCORE,
            "environment": describe_environment(torch.device("cpu")),
            "rows": rows,
        }
        save_measurement(args.json, measurement)
    if not all(row["passed"] for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
