"""Compare an exported file with the model that it was made from, on real images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.model import BaseModel

from .runtime import Arrays, Detector, batch_of, load_detector, to_batch

MAX_BOX, MAX_SCORE = 1e-2, 1e-4
"""How far boxes, in pixels, and scores may be from the model's."""

MIN_SCORE = 0.05
"""Objects of lower scores are not compared: there ties decide which come last."""

# Farther away is another object.
_SAME_BOX, _SAME_SCORE = 1.0, 1e-2


@dataclass(frozen=True)
class Comparison:
    """How near the detections of two runs are.

    Attributes:
        objects: detections of the model that score at least :data:`MIN_SCORE` and are
            not the last that fit into the file's arrays.
        misses: those of either run that the other one lacks.
        box: the largest difference of a coordinate, in pixels.
        score: the largest difference of a score.
    """

    objects: int
    misses: int
    box: float
    score: float

    @property
    def passed(self) -> bool:
        """Whether nothing is missed and nothing is too far."""
        return self.misses == 0 and self.box <= MAX_BOX and self.score <= MAX_SCORE


def compare(expected: Arrays, actual: Arrays) -> Comparison:
    """Match detections of one image by label and box, and take differences.

    Args:
        expected: boxes (num, 4), scores (num,) and labels (num,) of the model.
        actual: those of the file; the number may differ.
    """
    least = MIN_SCORE
    if len(expected[1]) == len(actual[1]):
        # None was left out but those that scored lower than the last one.
        least = max(least, expected[1].min(initial=1) + MAX_SCORE)
    first = [array[expected[1] >= least] for array in expected]
    # What is just under the threshold here may be just above it there.
    second = [array[actual[1] >= least - MAX_SCORE] for array in actual]
    free = np.ones(len(second[1]), dtype=bool)
    misses, largest_box, largest_score = 0, 0.0, 0.0
    for box, score, label in zip(*first, strict=True):
        box_differences = np.abs(second[0] - box).max(1, initial=0)
        score_differences = np.abs(second[1] - score)
        same = (
            free
            & (second[2] == label)
            & (box_differences <= _SAME_BOX)
            & (score_differences <= _SAME_SCORE)
        )
        if not same.any():
            misses += 1
            continue
        chosen = np.where(same, box_differences + score_differences, np.inf).argmin()
        free[chosen] = False
        largest_box = max(largest_box, float(box_differences[chosen]))
        largest_score = max(largest_score, float(score_differences[chosen]))
    misses += int((free & (second[1] >= least + MAX_SCORE)).sum())
    return Comparison(len(first[1]), misses, largest_box, largest_score)


def verify_file(
    path: Path,
    model: BaseModel,
    images: Sequence[np.ndarray],
    trace_shape: tuple[int, int],
    runtimes: Sequence[str | None] = (None,),
) -> Iterator[dict[str, Any]]:
    """Compare a file with its model in several runtimes.

    Args:
        path: the file.
        model: as :func:`verify`.
        images: as :func:`verify`.
        trace_shape: as :func:`verify`.
        runtimes: as :func:`~.runtime.load_detector`.

    Yields:
        dict: as :func:`verify`, with ``runtime``.
    """
    for runtime in runtimes:
        detector = load_detector(path, runtime)
        name = type(detector).__name__.removesuffix("Detector")
        for row in verify(model, detector, images, trace_shape):
            yield {"runtime": name, **row}


def verify(
    model: BaseModel,
    detector: Detector,
    images: Sequence[np.ndarray],
    trace_shape: tuple[int, int],
) -> Iterator[dict[str, Any]]:
    """Compare a file with its model at several sizes, and in a batch.

    A file of open size is tried at two sizes that it was not traced with, one of them
    upright where that was wide; with several images also with all of them in a batch.

    Args:
        model: the detector that was exported.
        detector: the file.
        images: (height, width, 3), uint8, BGR.
        trace_shape: (height, width) that the file was traced with.

    Yields:
        dict: for a size and a batch ``image_shape``, ``batch``, ``images``,
        ``objects``, ``misses``, ``box``, ``score`` and ``passed``, over all images.
    """
    shape, fixed = detector.description["shape"], batch_of(detector.description)
    for height, width in [shape] if shape else _other_shapes(trace_shape):
        batch = to_batch([cv2.resize(image, (width, height)) for image in images])
        expected = [predict(model, image) for image in batch]
        for size in sorted({1, len(batch)} if fixed is None else {fixed}):
            results: list[Arrays] = []
            for start in range(0, len(batch), size):
                results += zip(*detector(batch[start : start + size]), strict=True)
            comparisons = [
                compare(one, other)
                for one, other in zip(expected, results, strict=True)
            ]
            yield {
                "image_shape": [height, width],
                "batch": size,
                "images": len(batch),
                "objects": sum(each.objects for each in comparisons),
                "misses": sum(each.misses for each in comparisons),
                "box": max(each.box for each in comparisons),
                "score": max(each.score for each in comparisons),
                "passed": all(each.passed for each in comparisons),
            }


@torch.no_grad()
def predict(model: BaseModel, image: np.ndarray) -> Arrays:
    """What mmdet predicts for an image that is resized already.

    Args:
        model: the detector.
        image: (3, height, width), uint8, BGR.

    Returns:
        tuple: boxes (num, 4), scores (num,) and labels (num,).
    """
    sample = DetDataSample(
        metainfo={"img_shape": image.shape[1:], "scale_factor": (1.0, 1.0)}
    )
    data = {"inputs": [torch.from_numpy(image)], "data_samples": [sample]}
    found = model.test_step(data)[0].pred_instances
    return found.bboxes.numpy(), found.scores.numpy(), found.labels.numpy()


def _other_shapes(trace_shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Two sizes that no level divides, one smaller and one turned and larger."""
    height, width = trace_shape
    return [
        (round(0.8 * height) + 1, round(0.8 * width) + 3),
        (round(1.1 * width) + 1, round(1.1 * height) + 1),
    ]
