"""Train a detector.

    python tools/train.py configs/lite_detr/lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py
    python tools/train.py mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py \
        --cfg-options model.type=LiteDINO
"""

import argparse

from mmdet.utils import register_all_modules, setup_cache_size_limit_of_dynamo
from mmengine.device import get_device
from mmengine.runner import Runner

import mmdet_lite  # noqa: F401  (registers its modules)
from mmdet_lite.cli import (
    add_config_arguments,
    check_data,
    exit_on_config_error,
    load_config,
)
from mmdet_lite.errors import ConfigError
from mmdet_lite.runtime import keep_freed_memory


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_arguments(parser)
    parser.add_argument(
        "--amp", action="store_true", help="train in mixed precision, on a GPU"
    )
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate by the actual batch size",
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="go on from a checkpoint; without a path, from the latest of the work dir",
    )
    return parser.parse_args()


def main() -> None:
    """Build mmengine's runner from the config and train."""
    args = parse_args()
    setup_cache_size_limit_of_dynamo()
    register_all_modules(init_default_scope=True)
    device_type = get_device()
    if device_type == "cpu":
        keep_freed_memory()
    with exit_on_config_error():
        cfg = load_config(args)
        if args.amp:
            if device_type == "cpu":
                raise ConfigError(
                    "--amp trains in mixed precision on a GPU, and there is none"
                )
            cfg.optim_wrapper.type = "AmpOptimWrapper"
            cfg.optim_wrapper.loss_scale = "dynamic"
        if args.auto_scale_lr:
            if "base_batch_size" not in cfg.get("auto_scale_lr", {}):
                raise ConfigError(
                    "--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in "
                    f"{args.config}"
                )
            cfg.auto_scale_lr.enable = True
        if args.resume is not None:
            cfg.resume = True
            cfg.load_from = None if args.resume == "auto" else args.resume
        check_data(cfg)
        Runner.from_cfg(cfg).train()


if __name__ == "__main__":
    main()
