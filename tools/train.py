"""Train a detector.

    python tools/train.py configs/lite_detr/lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py
    python tools/train.py mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py \
        --cfg-options model.type=LiteDINO

On data of one's own in COCO's format, with any config for such data:

    python tools/train.py CONFIG --data-root DIR --epochs 8 --image-size 320

Ends with status 2 where something has to be mended first, and 75 after SIGTERM or
Ctrl-C, when everything is saved and --resume goes on.
"""

import argparse

from mmdet.utils import register_all_modules, setup_cache_size_limit_of_dynamo
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import Runner

import mmdet_lite  # noqa: F401  (registers its modules)
from mmdet_lite.checkpoint.files import require_checkpoint
from mmdet_lite.cli import (
    add_config_arguments,
    check_data,
    draw_validation,
    exit_on_config_error,
    load_config,
    log_to_tensorboard,
    positive_int,
    require_operators_of_losses,
    require_writable_folder,
    resume_training,
    set_epochs,
    set_image_size,
    use_own_data,
)
from mmdet_lite.datasets.data_sources import set_faulty_data
from mmdet_lite.engine import (
    check_fit,
    fold_fixed_norms,
    make_resumable,
    stop_at_invalid_loss,
)
from mmdet_lite.errors import ConfigError
from mmdet_lite.runtime import keep_freed_memory, process_group


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
        help="go on from a checkpoint; without a path, from the newest of the work dir "
        "that is whole",
    )
    parser.add_argument(
        "--on-invalid-loss",
        choices=["stop", "skip"],
        help="what to do where a loss is NaN or infinite: end, the default, or leave "
        "the batch out",
    )
    parser.add_argument(
        "--faulty-data",
        choices=["stop", "skip"],
        help="stop at images and boxes of the training set that have a fault, as by "
        "default, or skip and count them",
    )
    watch = parser.add_argument_group("watching it learn")
    watch.add_argument(
        "--tensorboard",
        action="store_true",
        help="write losses, metrics and pictures for TensorBoard too",
    )
    watch.add_argument(
        "--draw-validation",
        nargs="?",
        type=int,
        const=50,
        metavar="N",
        help="draw ground truth and predictions of one image in N validation batches; "
        "default 50",
    )
    own = parser.add_argument_group("data of one's own")
    own.add_argument(
        "--data-root",
        metavar="DIR",
        help="train on this COCO-format data set; its files and classes are found",
    )
    own.add_argument(
        "--train-file",
        metavar="FILE",
        help="its training annotations, in DIR or absolute",
    )
    own.add_argument(
        "--val-file",
        metavar="FILE",
        help="its validation annotations, in DIR or absolute",
    )
    own.add_argument(
        "--epochs", type=int, help="how long; the learning rate's curve goes along"
    )
    own.add_argument(
        "--image-size", type=int, metavar="PIXELS", help="longer side of the images"
    )
    own.add_argument(
        "--batch-size", type=positive_int, help="images of a step on each device"
    )
    own.add_argument(
        "--weights",
        metavar="CHECKPOINT",
        help="start from it; branches of other classes are initialised anew",
    )
    return parser.parse_args()


def apply_own_data(cfg: Config, args: argparse.Namespace) -> None:
    """Change the config as the arguments of "data of one's own" say."""
    if args.data_root is not None:
        use_own_data(cfg, args.data_root, args.train_file, args.val_file)
    elif args.train_file is not None or args.val_file is not None:
        raise ConfigError("--train-file and --val-file need --data-root")
    if args.image_size is not None:
        set_image_size(cfg, args.image_size)
    if args.epochs is not None:
        set_epochs(cfg, args.epochs)
    if args.batch_size is not None:
        cfg.train_dataloader.batch_size = args.batch_size
    if args.weights is not None:
        require_checkpoint(args.weights)
        cfg.load_from = args.weights


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
        apply_own_data(cfg, args)
        if args.tensorboard:
            log_to_tensorboard(cfg)
        if args.draw_validation is not None:
            draw_validation(cfg, args.draw_validation)
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
        resume = args.resume
        if resume is None and cfg.get("resume"):
            resume = cfg.get("load_from") or "auto"
        passed_over = [] if resume is None else resume_training(cfg, resume)
        require_operators_of_losses(cfg)
        require_writable_folder("--work-dir", cfg.work_dir)
        set_faulty_data(cfg, args.faulty_data)
        check_data(cfg)
        make_resumable(cfg)
        fold_fixed_norms(cfg)
        stop_at_invalid_loss(cfg, args.on_invalid_loss)
        check_fit(cfg, whole=cfg.get("resume", False))
        with process_group(cfg):
            runner = Runner.from_cfg(cfg)
            for line in passed_over:
                runner.logger.warning(line)
            runner.train()


if __name__ == "__main__":
    main()
