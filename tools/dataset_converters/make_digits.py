"""Make the demonstration's data set from the digits that scikit-learn ships.

python tools/dataset_converters/make_digits.py --out data/digits
"""

import argparse

from mmdet_lite.cli import exit_on_config_error, require_writable_folder
from mmdet_lite.datasets.digits import make_digits_dataset


def main() -> None:
    """Parse the command line and write the data set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="data/digits", help="folder to write to")
    parser.add_argument("--num-train", type=int, default=1000, help="training images")
    parser.add_argument("--num-val", type=int, default=60, help="validation images")
    parser.add_argument("--image-size", type=int, default=160, help="pixels a side")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another set")
    args = parser.parse_args()
    with exit_on_config_error():
        require_writable_folder("--out", args.out)
    try:
        make_digits_dataset(
            args.out,
            num_train=args.num_train,
            num_val=args.num_val,
            image_size=args.image_size,
            seed=args.seed,
        )
    except ValueError as error:
        parser.error(str(error))
    print(f"wrote {args.num_train} + {args.num_val} images to {args.out}")


if __name__ == "__main__":
    main()
