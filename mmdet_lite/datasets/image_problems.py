"""What is wrong with the image files of a COCO data set."""

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import mmcv
from mmengine.utils import track_parallel_progress
from PIL import Image

from ..messages import first_line
from .problems import (
    MISSING_FILE,
    OTHER_SIZE,
    SIXTEEN_BITS,
    UNREADABLE_FILE,
    Problem,
    shown,
)

# OpenCV's own limit; Pillow's is lower, and meant for pictures of strangers.
_MAX_PIXELS = 2**30
_EXIF_ORIENTATION = 0x0112
_DARK = 32
# So many headers a training opens, that its start is not slowed by a large data set.
NUM_SAMPLED = 2000


@dataclass(frozen=True)
class ImageReader:
    """How the pipeline of a data set reads its images.

    Attributes:
        folder: where the images lie.
        color_type: ``color_type`` of ``LoadImageFromFile``.
        backend: ``imdecode_backend`` of the same.
    """

    folder: str
    color_type: str = "color"
    backend: str = "cv2"

    @property
    def rotates(self) -> bool:
        """Whether a photograph is turned upright, as its EXIF data say."""
        return self.backend in ("cv2", "pillow") and self.color_type in (
            "color",
            "grayscale",
        )


def quick_image_problems(rows: Sequence[Any], reader: ImageReader) -> list[Problem]:
    """Look whether every file is there, and at the headers of some.

    Args:
        rows: ``images`` of an annotation file, faulty ones among them are passed over.
        reader: how they are read.

    Returns:
        list: of every file that is missing or empty, and of up to ``NUM_SAMPLED``, in
        even steps, that cannot be opened or have another size than is listed.
    """
    places = _named(rows)
    step = -(-len(places) // NUM_SAMPLED) or 1
    sampled = set(places[::step])
    # A file system that is far away answers many questions at once.
    with ThreadPoolExecutor(16) as pool, _any_number_of_pixels():
        found = pool.map(
            lambda place: _header_problem(
                place, rows[place], reader, open_it=place in sampled
            ),
            places,
        )
        return [problem for problem in found if problem]


def all_image_problems(
    rows: Sequence[Any], reader: ImageReader, num_workers: int
) -> list[Problem]:
    """Read every image as training would, in parallel, with a progress bar.

    Args:
        rows: ``images`` of an annotation file, faulty ones among them are passed over.
        reader: how they are read.
        num_workers: processes.

    Returns:
        list: the problems, in the order of the rows.
    """
    tasks = [(place, rows[place]) for place in _named(rows)]
    if not tasks:
        return []
    found = track_parallel_progress(
        partial(_decoding_problem, reader=reader),
        tasks,
        num_workers,
        chunksize=8,
        file=sys.stderr,  # Now, not the one of mmengine's import.
    )
    return [problem for problem in found if problem]


def upright_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Width and height of a picture as OpenCV reads it, from its head.

    Args:
        path: of the file.

    Raises:
        Exception: of almost any kind, where it cannot be read.
    """
    with _any_number_of_pixels(), Image.open(path) as image:
        return image.size[::-1] if _is_turned(image) else image.size


def _named(rows: Sequence[Any]) -> list[int]:
    """Places of the rows that name a file and its size."""
    return [
        index
        for index, row in enumerate(rows)
        if isinstance(row, dict)
        and isinstance(row.get("file_name"), str)
        and all(type(row.get(side)) in (int, float) for side in ("width", "height"))
    ]


def _header_problem(
    place: int, row: dict, reader: ImageReader, open_it: bool
) -> Problem | None:
    path = os.path.join(reader.folder, row["file_name"])

    def problem(kind, message):
        return Problem(kind, f"{shown(path, 200)} {message}", image=place)

    try:
        if not os.path.isfile(path):
            return problem(MISSING_FILE, "does not exist")
        if not os.path.getsize(path):
            return problem(MISSING_FILE, "is empty")
        if not open_it:
            return None
        with Image.open(path) as image:
            size = image.size
            turned = _is_turned(image)
    except Exception as error:  # Of files of other kinds almost anything is raised.
        return problem(UNREADABLE_FILE, f"cannot be read: {first_line(error)}")
    if size[0] * size[1] > _MAX_PIXELS:
        return problem(
            UNREADABLE_FILE, f"is {size[0]}×{size[1]}: OpenCV reads up to 2^30 pixels"
        )
    listed = (row["width"], row["height"])
    shown_size = size[::-1] if turned and reader.rotates else size
    if shown_size == listed:
        return None
    message = f"is {shown_size[0]}×{shown_size[1]}, listed as {listed[0]}×{listed[1]}"
    if turned and size == listed:
        message += (
            ": it is turned by its EXIF data, and was annotated without them (remove "
            "them, or set color_type='color_ignore_orientation' of LoadImageFromFile)"
        )
    elif turned and size[::-1] == listed:
        message += ": its EXIF data turn it, which this pipeline ignores"
    return problem(OTHER_SIZE, message)


def _is_turned(image: Image.Image) -> bool:
    """Whether width and height change places when a photograph is set upright."""
    if image.format == "TIFF":
        return False  # Pillow has its size upright already.
    # Asking a PNG for its EXIF data would read the whole picture.
    if image.format == "PNG" and "exif" not in image.info:
        return False
    return image.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)


def _decoding_problem(task: tuple[int, dict], reader: ImageReader) -> Problem | None:
    place, row = task
    with _any_number_of_pixels():
        found = _header_problem(place, row, reader, open_it=True)
    if found:
        return found
    path = os.path.join(reader.folder, row["file_name"])

    def problem(kind, message):
        return Problem(kind, f"{shown(path, 200)} {message}", image=place)

    try:
        pixels = mmcv.imread(path, flag=reader.color_type, backend=reader.backend)
        with _any_number_of_pixels(), Image.open(path) as image:
            image.load()  # Some versions of OpenCV fill what is cut off with grey.
    except Exception as error:
        return problem(UNREADABLE_FILE, f"cannot be read: {first_line(error)}")
    if pixels is None:
        return problem(UNREADABLE_FILE, "cannot be read by OpenCV")
    if pixels.shape[:2] != (row["height"], row["width"]):
        return problem(
            OTHER_SIZE,
            f"is read as {pixels.shape[1]}×{pixels.shape[0]}, listed as "
            f"{row['width']}×{row['height']}",
        )
    if pixels.max() < _DARK and _has_16_bits(path):
        return problem(SIXTEEN_BITS, f"has no pixel above {pixels.max()} of 255")
    return None


def _has_16_bits(path: str) -> bool:
    """Whether more than 8 bits a sample are in the file; asked of dark images only."""
    pixels = mmcv.imread(path, flag="unchanged")
    return pixels is not None and pixels.dtype.itemsize > 1


@contextmanager
def _any_number_of_pixels() -> Iterator[None]:
    """Let Pillow open pictures of any size."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
