"""Put pictures that tools/test.py drew below each other, for a page.

python tools/test.py CONFIG CHECKPOINT --show-dir pictures
python .dev_scripts/montage.py docs/images/bccd.jpg pictures/a.jpg pictures/b.jpg
"""

import argparse
from pathlib import Path

import cv2
import numpy as np


def montage(pictures: list[Path], columns: int, width: int) -> np.ndarray:
    """Lay out pictures of one size row by row.

    Args:
        pictures: their files.
        columns: pictures of a row.
        width: pixels of the result.

    Returns:
        np.ndarray: (height, width, 3), uint8, BGR.
    """
    images = [cv2.imread(str(picture)) for picture in pictures]
    rows = [
        np.hstack(images[start : start + columns])
        for start in range(0, len(images), columns)
    ]
    whole = np.vstack(rows)
    height = round(whole.shape[0] * width / whole.shape[1])
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)


def main() -> None:
    """Parse the command line and write the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", help="JPEG or PNG to write")
    parser.add_argument("pictures", nargs="+", type=Path, help="of one size")
    parser.add_argument("--columns", type=int, default=1, help="pictures of a row")
    parser.add_argument("--width", type=int, default=1280, help="pixels of the result")
    args = parser.parse_args()
    result = montage(args.pictures, args.columns, args.width)
    cv2.imwrite(args.target, result, [cv2.IMWRITE_JPEG_QUALITY, 85])


if __name__ == "__main__":
    main()
