"""Convert a checkpoint of the official Lite-DINO to one of mmdet, or back.

    python tools/model_converters/convert_official.py official.pth lite-dino.pth
    python tools/model_converters/convert_official.py --reverse lite-dino.pth back.pth

Prints the variant that the weights tell, and the configs of this repository that build
it. A name that is unknown or missing ends the tool with status 2, naming it.
"""

import argparse
import warnings
from collections import Counter
from pathlib import Path

from mmdet.utils import register_all_modules

import mmdet_lite  # noqa: F401  (registers its modules)
from mmdet_lite.checkpoint.official.conversion import Conversion
from mmdet_lite.checkpoint.official.file import (
    convert_official_file,
    restore_official_file,
)
from mmdet_lite.checkpoint.official.variant import fitting_configs, recognise_variant
from mmdet_lite.cli import exit_on_config_error, require_writable_file

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "lite_detr"


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="path of the checkpoint")
    parser.add_argument("target", help="path to write to")
    parser.add_argument(
        "--reverse", action="store_true", help="from mmdet to the official layout"
    )
    parser.add_argument(
        "--keep-91-classes",
        action="store_true",
        help="keep the rows of all official classes, for a config with "
        "model.bbox_head.num_classes=91: labels are COCO's category ids then, which "
        "mmdet's evaluation does not expect; for comparison with the official model",
    )
    parser.add_argument(
        "--ema", action="store_true", help="the averaged weights (ema_model)"
    )
    parser.add_argument(
        "--num-high-levels",
        type=int,
        metavar="X",
        help="x of HxLy, where the file does not tell it (weights never do)",
    )
    parser.add_argument(
        "--verbose", action="store_true", help="name every weight and where it goes"
    )
    return parser.parse_args()


def main() -> None:
    """Convert the file and say what was done."""
    args = parse_args()
    register_all_modules(init_default_scope=True)
    warnings.filterwarnings("ignore", "pkg_resources is deprecated")
    with exit_on_config_error():
        require_writable_file("target", args.target)
        if args.reverse:
            conversion = restore_official_file(
                args.source, args.target, args.keep_91_classes
            )
            report(conversion, args.verbose)
        else:
            conversion, num_high_levels = convert_official_file(
                args.source, args.target, args.keep_91_classes, args.ema
            )
            report(conversion, args.verbose)
            report_variant(conversion, args.num_high_levels or num_high_levels)
    print(f"wrote {args.target}")


def report(conversion: Conversion, verbose: bool) -> None:
    """Print what became of the names: each that has no counterpart, by reason."""
    print(f"{len(conversion.mapped)} weights converted")
    if verbose:
        for name, source in conversion.mapped.items():
            print(f"  {source} -> {name}")
    for action, reasons in (
        ("left out", conversion.dropped),
        ("invented", conversion.invented),
    ):
        # One line for all copies of a head, or the names would fill the screen.
        kinds = {
            name: "the decoder's copy of a head" if why.startswith("the same") else why
            for name, why in reasons.items()
        }
        for kind, number in Counter(kinds.values()).items():
            print(f"{number} {action}: {kind}")
            for name in (name for name in kinds if verbose and kinds[name] == kind):
                print(f"  {name}")
    if conversion.leftovers:
        print(
            f"{len(conversion.leftovers)} tensors beside the model's, for the official "
            "layout"
        )


def report_variant(conversion: Conversion, num_high_levels: int | None) -> None:
    """Print the variant and the configs that build it."""
    variant = recognise_variant(conversion.state_dict, num_high_levels)
    print(variant)
    if num_high_levels is None:
        print(
            "HxLy is not told by the weights nor by this file: the config decides "
            "(model.encoder.num_high_levels), and a wrong one loads and detects badly"
        )
    configs = fitting_configs(
        conversion.state_dict, sorted(CONFIGS.glob("*.py")), num_high_levels
    )
    for config in configs:
        changed = f" with model.bbox_head.num_classes={variant.num_classes}"
        print(f"config: {config}{changed if variant.num_classes != 80 else ''}")
    if not configs:
        print(f"no config in {CONFIGS} builds this model")


if __name__ == "__main__":
    main()
