"""Detect in pictures, folders of them and videos.

    python tools/inference.py IMAGE FOLDER VIDEO \
        --config CONFIG --weights CHECKPOINT --out found

Leaves in the folder that --out names detections.json (COCO's form), pictures/ and
videos/. Status 1 if a file could not be used; docs/inference.md has the rest.
"""

import argparse
import sys

from mmdet.utils import register_all_modules
from mmengine.device import get_device
from mmengine.logging import MMLogger

import mmdet_lite  # noqa: F401  (registers its modules)
from mmdet_lite.checkpoint.files import require_checkpoint
from mmdet_lite.cli import (
    add_config_options,
    exit_on_config_error,
    read_config,
    require_writable_folder,
)
from mmdet_lite.errors import ConfigError
from mmdet_lite.inference import detect_to_folder, find_sources, load_detector
from mmdet_lite.runtime import (
    inference_dtype,
    keep_freed_memory,
    optimize_for_inference,
    warn_of_large_images,
)


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="pictures, videos, and folders of them, subfolders too",
    )
    parser.add_argument(
        "--config",
        required=True,
        help="path of a config, or mmdet::PATH for one that mmdet ships",
    )
    parser.add_argument(
        "--weights", required=True, metavar="CHECKPOINT", help="path of the checkpoint"
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder for the results"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1; default: a GPU if any")
    parser.add_argument(
        "--batch-size", type=int, default=1, help="pictures or frames at a time"
    )
    parser.add_argument(
        "--score-thr",
        type=float,
        default=0.3,
        help="lowest score that is drawn and written; default 0.3",
    )
    parser.add_argument(
        "--classes",
        nargs="+",
        metavar="NAME",
        help="draw and write these only; default: all",
    )
    parser.add_argument(
        "--optimize",
        action="store_true",
        help="make the model fast first; the predictions stay",
    )
    parser.add_argument(
        "--amp",
        action="store_true",
        help="with --optimize: compute in float16 on a GPU, in bfloat16 on a processor "
        "that has instructions for it",
    )
    add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    """Check everything, load the model, detect, say what came of it."""
    args = parse_args()
    register_all_modules(init_default_scope=True)
    MMLogger.get_instance("mmengine").setLevel("ERROR")
    with exit_on_config_error():
        if args.amp and not args.optimize:
            raise ConfigError("--amp needs --optimize")
        sources = find_sources(args.inputs, args.out)
        cfg = read_config(args.config, args.cfg_options)
        require_checkpoint(args.weights)
        require_writable_folder("--out", args.out)
        device = args.device or get_device()
        if device == "cpu":
            keep_freed_memory()
        detector = load_detector(cfg, args.weights, device)
        if args.optimize:
            dtype = inference_dtype(device.split(":")[0]) if args.amp else None
            optimize_for_inference(detector.model, dtype)
        warn_of_large_images(detector.model)
        try:
            outcome = detect_to_folder(
                detector,
                sources,
                args.out,
                args.batch_size,
                args.score_thr,
                args.classes,
                {"config": args.config, "weights": args.weights},
            )
        except KeyboardInterrupt:
            print(f"interrupted: {args.out} has what was found so far", file=sys.stderr)
            raise SystemExit(130) from None
    print(
        f"{outcome.detections} detections in {outcome.images} pictures and "
        f"{outcome.frames} frames of videos: {outcome.results}"
    )
    if outcome.unusable:
        for path, reason in outcome.unusable.items():
            print(f"not used: {path}: {reason}", file=sys.stderr)
        raise SystemExit(f"error: {len(outcome.unusable)} files could not be used")


if __name__ == "__main__":
    main()
