"""A small COCO-format detection set made of scikit-learn's handwritten digits.

Real 8×8 scans are enlarged to sizes from tiny to large and scattered over textured
canvases. It needs no download, is the same at every call with the same seed, and keeps
apart the scans that training and validation images show.
"""

import json
from pathlib import Path

import cv2
import numpy as np

CLASSES = tuple(str(digit) for digit in range(10))
"""Category names; label i is the digit i."""

_MAX_OVERLAP = 0.05
_INK_THRESHOLD = 0.25


def make_digits_dataset(
    out_dir: str | Path,
    num_train: int = 1000,
    num_val: int = 60,
    image_size: int = 160,
    max_digits: int = 16,
    seed: int = 0,
) -> None:
    """Write images and COCO annotations of a training and a validation set.

    The result is ``images/*.png``, ``train.json`` and ``val.json`` under ``out_dir``;
    files of an earlier call with the same arguments are the same byte for byte.

    Args:
        out_dir: folder to write to; created if it is missing.
        num_train: number of training images.
        num_val: number of validation images.
        image_size: height and width of an image in pixels, at least 128 for digits of
            more than 96² pixels to fit.
        max_digits: most digits of an image; the least is one.
        seed: another seed gives another set.

    Raises:
        ValueError: a number is out of its range.
    """
    if image_size < 128:
        raise ValueError(f"image_size must be at least 128, but got {image_size}")
    for name, number in (
        ("num_train", num_train),
        ("num_val", num_val),
        ("max_digits", max_digits),
    ):
        if number < 1:
            raise ValueError(f"{name} must be at least 1, but got {number}")
    # Only making the data needs scikit-learn; training and testing do not.
    from sklearn.datasets import load_digits

    digits = load_digits()
    scans, labels = digits.images / 16.0, digits.target
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(scans))
    num_held_out = len(scans) // 5
    splits = {
        "train": (num_train, order[num_held_out:]),
        "val": (num_val, order[:num_held_out]),
    }
    out_dir = Path(out_dir)
    (out_dir / "images").mkdir(parents=True, exist_ok=True)
    for split, (num_images, scan_ids) in splits.items():
        images: list[dict] = []
        annotations: list[dict] = []
        for image_id in range(1, num_images + 1):
            picture, boxes, box_labels = _draw_image(
                rng, scans[scan_ids], labels[scan_ids], image_size, max_digits
            )
            file_name = f"{split}_{image_id:05d}.png"
            if not cv2.imwrite(str(out_dir / "images" / file_name), picture):
                raise OSError(f"could not write {out_dir / 'images' / file_name}")
            images.append(
                {
                    "id": image_id,
                    "file_name": file_name,
                    "width": image_size,
                    "height": image_size,
                }
            )
            for (x, y, width, height), label in zip(boxes, box_labels, strict=True):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image_id,
                        "category_id": int(label) + 1,
                        "bbox": [x, y, width, height],
                        "area": width * height,
                        "iscrowd": 0,
                    }
                )
        categories = [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)]
        (out_dir / f"{split}.json").write_text(
            json.dumps(
                {
                    "images": images,
                    "annotations": annotations,
                    "categories": categories,
                }
            )
        )


def _draw_image(
    rng: np.random.Generator,
    scans: np.ndarray,
    labels: np.ndarray,
    image_size: int,
    max_digits: int,
) -> tuple[np.ndarray, list[tuple[int, int, int, int]], list[int]]:
    """Scatter digits over a canvas; returns the uint8 BGR image, boxes and labels."""
    canvas = _draw_texture(rng, image_size)
    taken = np.zeros((image_size, image_size), dtype=bool)
    boxes, box_labels = [], []
    for _ in range(int(rng.integers(1, max_digits + 1))):
        index = int(rng.integers(len(scans)))
        # Sizes are log-uniform, so that COCO's small, medium and large all occur.
        side = int(np.exp(rng.uniform(np.log(20), np.log(0.95 * image_size))))
        ink = cv2.resize(scans[index], (side, side), interpolation=cv2.INTER_CUBIC)
        ink = ink.clip(0, 1)
        rows, columns = np.where(ink > _INK_THRESHOLD)
        left, right = columns.min(), columns.max() + 1
        top, bottom = rows.min(), rows.max() + 1
        for _attempt in range(20):
            x, y = rng.integers(image_size - side + 1, size=2)
            box = np.s_[y + top : y + bottom, x + left : x + right]
            if taken[box].mean() <= _MAX_OVERLAP:
                break
        else:
            continue  # No room left for this one.
        taken[box] = True
        # The soft edge of the ink reaches beyond the box, as it does in a photograph.
        region = canvas[y : y + side, x : x + side]
        # Ink stands out from the canvas under it, lighter or darker.
        colour = rng.uniform(0, 60, 3)
        if region.mean() < 128:
            colour = 255 - colour
        region += ink[..., None] * (colour - region)
        boxes.append(
            (int(x + left), int(y + top), int(right - left), int(bottom - top))
        )
        box_labels.append(int(labels[index]))
    return canvas.round().astype(np.uint8), boxes, box_labels


def _draw_texture(rng: np.random.Generator, image_size: int) -> np.ndarray:
    """Smooth coloured noise of three scales; (image_size, image_size, 3), 0 to 255."""
    base = rng.uniform(60, 195, 3)
    canvas = np.broadcast_to(base, (image_size, image_size, 3)).copy()
    for cells, strength in ((4, 20), (16, 8), (64, 4)):
        noise = rng.normal(0, strength, (cells, cells, 3))
        canvas += cv2.resize(
            noise, (image_size, image_size), interpolation=cv2.INTER_LINEAR
        )
    return canvas.clip(0, 255)
