"""Test a detector on the test set of a config: how good it is, and how fast.

python tools/test.py CONFIG CHECKPOINT
python tools/test.py CONFIG CHECKPOINT --show-dir pictures --out results.pkl
python tools/test.py CONFIG detector.onnx --runtime openvino
"""

import argparse
from pathlib import Path

from mmdet.engine.hooks.utils import trigger_visualization_hook
from mmdet.evaluation import DumpDetResults
from mmdet.utils import register_all_modules, setup_cache_size_limit_of_dynamo
from mmengine.device import get_device
from mmengine.runner import Runner

import mmdet_lite  # noqa: F401  (registers its modules)
from mmdet_lite.checkpoint.files import require_checkpoint
from mmdet_lite.cli import (
    add_config_arguments,
    check_data,
    exit_on_config_error,
    load_config,
    provide_drawing,
    require_test_set,
    require_writable_file,
    require_writable_folder,
    use_test_time_augmentation,
)
from mmdet_lite.deployment.exported_detector import use_exported_file
from mmdet_lite.deployment.runtime import RUNTIMES, SUFFIXES
from mmdet_lite.engine import (
    LatencyHook,
    OptimizeForInferenceHook,
    check_fit,
    without_averaging,
)
from mmdet_lite.errors import ConfigError
from mmdet_lite.model_wrappers import unwrapped
from mmdet_lite.runtime import (
    inference_dtype,
    keep_freed_memory,
    predict_in_float32,
    process_group,
    warn_of_large_images,
    warn_of_slow_autocast,
)


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_arguments(parser)
    parser.add_argument(
        "checkpoint",
        help="path of the checkpoint, or of what tools/deployment/export.py wrote",
    )
    parser.add_argument(
        "--runtime",
        choices=RUNTIMES,
        help="of an exported file; default: onnxruntime, or torch for .pt2",
    )
    parser.add_argument("--out", metavar="FILE.pkl", help="write the predictions there")
    parser.add_argument("--show", action="store_true", help="show the predictions")
    parser.add_argument(
        "--show-dir", help="write images with ground truth and predictions there"
    )
    parser.add_argument(
        "--wait-time", type=float, default=2, help="seconds between shown images"
    )
    parser.add_argument(
        "--amp",
        action="store_true",
        help="test in mixed precision: float16 on a GPU, bfloat16 on a processor",
    )
    parser.add_argument(
        "--optimize",
        action="store_true",
        help="make the model fast first: fold its batch norms, and what else "
        "docs/inference.md says",
    )
    parser.add_argument(
        "--tta", action="store_true", help="average predictions over flipped images"
    )
    return parser.parse_args()


def main() -> None:
    """Build mmengine's runner from the config and test."""
    args = parse_args()
    setup_cache_size_limit_of_dynamo()
    register_all_modules(init_default_scope=True)
    device_type = get_device()
    if device_type == "cpu":
        keep_freed_memory()
    with exit_on_config_error():
        is_exported = args.checkpoint.endswith(SUFFIXES)
        refuse_flags(args, is_exported)
        cfg = load_config(args)
        require_test_set(cfg)
        require_checkpoint(args.checkpoint)
        if args.out is not None and not args.out.endswith((".pkl", ".pickle")):
            raise ConfigError(f"--out must end in .pkl or .pickle, but is {args.out}")
        require_writable_folder("--work-dir", cfg.work_dir)
        if args.out is not None:
            require_writable_file("--out", args.out)
        if args.show_dir is not None:
            require_writable_folder("--show-dir", args.show_dir)
        if not is_exported:
            cfg.load_from = args.checkpoint
            check_fit(cfg, whole=True)
        if args.amp and not args.optimize:
            warn_of_slow_autocast(device_type)
            cfg.test_cfg.fp16 = True  # mmengine's name for autocast of any kind.
        if args.show or args.show_dir:
            if args.show_dir:
                # mmdet joins a relative folder to the work dir anew for every image.
                args.show_dir = str(Path(args.show_dir).absolute())
            provide_drawing(cfg)
            cfg = trigger_visualization_hook(cfg, args)
        check_data(cfg, splits=("test",))
        if is_exported:
            use_exported_file(cfg, args.checkpoint, args.runtime)
        if args.optimize:
            without_averaging(cfg)
        if args.tta:
            use_test_time_augmentation(cfg)
        with process_group(cfg):
            runner = Runner.from_cfg(cfg)
            if args.optimize:
                dtype = inference_dtype(device_type) if args.amp else None
                runner.register_hook(OptimizeForInferenceHook(dtype))
            elif args.amp:
                predict_in_float32(unwrapped(runner.model))
            if not is_exported:
                warn_of_large_images(unwrapped(runner.model))
            runner.register_hook(LatencyHook())
            if args.out is not None:
                runner.test_evaluator.metrics.append(DumpDetResults(args.out))
            runner.test()


def refuse_flags(args: argparse.Namespace, is_exported: bool) -> None:
    """Refuse what an exported file cannot do, and what only such a file can."""
    if not is_exported:
        if args.runtime is not None:
            raise ConfigError(
                f"--runtime runs exported files, {' and '.join(SUFFIXES)}, but got "
                f"{args.checkpoint}"
            )
        return
    for flag in ("amp", "optimize", "tta"):
        if getattr(args, flag):
            raise ConfigError(
                f"--{flag} changes a model, but {args.checkpoint} is exported and runs "
                "as it is: give its checkpoint"
            )


if __name__ == "__main__":
    main()
