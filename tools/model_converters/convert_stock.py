"""Make a checkpoint to start a Lite model from, out of one of mmdet's stock models.

    python tools/model_converters/convert_stock.py dino-4scale_r50.pth \
        configs/lite_detr/lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py start.pth
    python tools/train.py configs/lite_detr/lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py \
        --cfg-options load_from=start.pth

Weights of equal name and shape are kept; what only Lite DETR has is initialised as in
training from scratch. Every name of the second kind is printed.
"""

import argparse

from mmdet.utils import register_all_modules
from mmengine.logging import MMLogger

import mmdet_lite  # noqa: F401  (registers its modules)
from mmdet_lite.checkpoint.stock import initialise_file_from_stock
from mmdet_lite.cli import (
    add_model_arguments,
    exit_on_config_error,
    read_config,
    require_writable_file,
)


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="path or URL of the stock model's checkpoint")
    add_model_arguments(parser)
    parser.add_argument("target", help="path to write to")
    parser.add_argument("--seed", type=int, default=0, help="of the new weights")
    return parser.parse_args()


def main() -> None:
    """Write the checkpoint and say where its weights come from."""
    args = parse_args()
    register_all_modules(init_default_scope=True)
    # Initialisation logs two lines for every parameter.
    MMLogger.get_instance("mmengine").setLevel("ERROR")
    with exit_on_config_error():
        require_writable_file("target", args.target)
        cfg = read_config(args.config, args.cfg_options)
        start = initialise_file_from_stock(
            args.source, cfg.model, args.target, args.seed
        )
    print(f"{len(start.kept)} weights kept")
    print(f"{len(start.new)} weights initialised anew")
    for name, reason in start.new.items():
        print(f"  {name}: {reason}")
    print(f"{len(start.dropped)} weights of the checkpoint left out")
    for name in start.dropped:
        print(f"  {name}")
    print(f"wrote {args.target}")


if __name__ == "__main__":
    main()
