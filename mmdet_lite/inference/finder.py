"""Run a detector on images in batches, and draw what was found."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import mmcv
import numpy as np
import torch
from mmdet.apis import DetInferencer
from mmdet.structures import DetDataSample

from ..errors import ConfigError


class Finder:
    """Runs the model on batches, and draws what is kept of its predictions.

    Args:
        detector: of :func:`~mmdet_lite.inference.load_detector`.
        score_thr: lowest score, 0 to 1, that is kept.
        keep: labels that are kept; None for all.
        batch_size: images that the model takes at a time.
    """

    def __init__(
        self,
        detector: DetInferencer,
        score_thr: float,
        keep: torch.Tensor | None,
        batch_size: int,
    ) -> None:
        self.detector = detector
        self.score_thr = score_thr
        self.keep = keep
        self.batch_size = batch_size

    def __call__(
        self,
        images: Iterable[tuple[Any, np.ndarray]],
        refuse: Callable[[Any, str], Any],
    ) -> Iterator[tuple[Any, np.ndarray, DetDataSample]]:
        """Yield each image with what was found in it.

        Args:
            images: pairs of a key and an image, (height, width, 3) BGR.
            refuse: is called with the key of an image that the test pipeline does not
                take, and the reason in one line.

        Raises:
            ConfigError: the model predicts no boxes, as panoptic ones may not.
        """
        prepared = self._prepare(images, refuse)
        while batch := list(islice(prepared, self.batch_size)):
            data = self.detector.collate_fn(
                [(image, inputs) for _, image, inputs in batch]
            )
            samples = self.detector.forward(data[1])
            for (key, image, _), sample in zip(batch, samples, strict=True):
                if "pred_instances" not in sample:
                    model = type(self.detector.model).__name__
                    raise ConfigError(f"{model} predicts no boxes")
                found = sample.pred_instances.cpu()
                chosen = found.scores >= self.score_thr
                if self.keep is not None:
                    chosen &= torch.isin(found.labels, self.keep)
                sample.pred_instances = found[chosen]
                yield key, image, sample

    def draw(self, image: np.ndarray, sample: DetDataSample) -> np.ndarray:
        """Draw boxes on a copy of an image; (height, width, 3) BGR both."""
        visualizer = self.detector.visualizer
        # What is shown was chosen already, those with a score of 0 too.
        visualizer.add_datasample(
            "", mmcv.bgr2rgb(image), sample, draw_gt=False, pred_score_thr=-1.0
        )
        return mmcv.rgb2bgr(visualizer.get_image())

    def _prepare(
        self,
        images: Iterable[tuple[Any, np.ndarray]],
        refuse: Callable[[Any, str], Any],
    ) -> Iterator[tuple[Any, np.ndarray, dict]]:
        for key, image in images:
            try:
                inputs = self.detector.pipeline(image)
            except Exception as error:  # Transforms may raise anything.
                height, width = image.shape[:2]
                said = " ".join(str(error).split()) or type(error).__name__
                refuse(key, f"the test pipeline fails at {width}×{height}: {said}")
            else:
                yield key, image, inputs
