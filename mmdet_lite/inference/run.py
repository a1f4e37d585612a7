"""Detect in pictures and videos, draw what was found and write it down."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import mmcv
import numpy as np
import torch
from mmcv.transforms import LoadImageFromFile
from mmdet.apis import DetInferencer
from mmdet.structures import DetDataSample
from rich.progress import track

from ..errors import ConfigError
from .results import Results
from .sources import Source

RESULTS_FILE = "detections.json"
"""Name of the file of results."""


@dataclass
class Outcome:
    """What came of a run.

    Attributes:
        results: path of the file of results.
        images: pictures that were read.
        frames: frames of videos that were read.
        detections: what was found in them.
        unreadable: files that could not be read.
    """

    results: Path
    images: int = 0
    frames: int = 0
    detections: int = 0
    unreadable: list[Path] = field(default_factory=list)


def detect_to_folder(
    detector: DetInferencer,
    sources: Sequence[Source],
    out: str | Path,
    batch_size: int = 1,
    score_thr: float = 0.3,
    classes: Sequence[str] | None = None,
    info: dict[str, Any] | None = None,
) -> Outcome:
    """Detect in pictures and videos; leave drawings and one file of results.

    Pictures of any sizes share a batch: mmdet pads them, and their boxes come back in
    pixels of each file. A video keeps its size and its frame rate. A file that cannot
    be read is passed over.

    Args:
        detector: of :func:`~mmdet_lite.inference.load_detector`.
        sources: of :func:`~mmdet_lite.inference.find_sources`.
        out: folder for ``detections.json`` (see
            :class:`~mmdet_lite.inference.results.Results`), ``pictures/`` and
            ``videos/``.
        batch_size: pictures or frames that the model takes at a time.
        score_thr: lowest score, 0 to 1, that is drawn and written.
        classes: names of those that are drawn and written; None for all.
        info: goes to ``info`` of the file.

    Returns:
        Outcome: what was read, found and could not be read.

    Raises:
        ConfigError: a class is not the model's, the batch size is below 1 or the
            threshold is not from 0 to 1.
    """
    names = detector.model.dataset_meta["classes"]
    keep = _labels_of(classes, names)
    if batch_size < 1:
        raise ConfigError(f"--batch-size must be at least 1, but got {batch_size}")
    if not 0 <= score_thr <= 1:
        raise ConfigError(f"--score-thr must be from 0 to 1, but got {score_thr}")
    out = Path(out)
    results = Results(names)
    outcome = Outcome(out / RESULTS_FILE)
    find = _Finder(detector, score_thr, keep, batch_size)

    pictures = [source for source in sources if not source.is_video]
    readable = _read_pictures(pictures, detector, outcome.unreadable)
    for source, image, sample in find(readable):
        target = out / source.target
        target.parent.mkdir(parents=True, exist_ok=True)
        mmcv.imwrite(find.draw(image, sample), str(target))
        results.add_image(
            sample.pred_instances,
            file_name=source.path.as_posix(),
            height=image.shape[0],
            width=image.shape[1],
            drawn=source.target.as_posix(),
        )
        outcome.images += 1
    for source in sources:
        if source.is_video:
            frames = _detect_in_video(find, source, out, results)
            outcome.frames += frames
            if not frames:
                outcome.unreadable.append(source.path)
    outcome.detections = len(results.annotations)
    results.write(outcome.results, info or {})
    return outcome


class _Finder:
    """Runs the model on batches, and draws what is kept of its predictions."""

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
        self, images: Iterable[tuple[Any, np.ndarray]]
    ) -> Iterator[tuple[Any, np.ndarray, DetDataSample]]:
        """Yield each image, (height, width, 3) BGR, with what was found in it."""
        images = iter(images)
        while batch := list(islice(images, self.batch_size)):
            arrays = [array for _, array in batch]
            (inputs,) = self.detector.preprocess(arrays, self.batch_size)
            samples = self.detector.forward(inputs[1])
            for (key, array), sample in zip(batch, samples, strict=True):
                found = sample.pred_instances.cpu()
                chosen = found.scores >= self.score_thr
                if self.keep is not None:
                    chosen &= torch.isin(found.labels, self.keep)
                sample.pred_instances = found[chosen]
                yield key, array, sample

    def draw(self, image: np.ndarray, sample: DetDataSample) -> np.ndarray:
        """Draw boxes on a copy of an image; (height, width, 3) BGR both."""
        visualizer = self.detector.visualizer
        # What is shown was chosen already, those with a score of 0 too.
        visualizer.add_datasample(
            "", mmcv.bgr2rgb(image), sample, draw_gt=False, pred_score_thr=-1.0
        )
        return mmcv.rgb2bgr(visualizer.get_image())


def _labels_of(
    classes: Sequence[str] | None, names: Sequence[str]
) -> torch.Tensor | None:
    if classes is None:
        return None
    unknown = [name for name in classes if name not in names]
    if unknown:
        raise ConfigError(
            f"--classes {' '.join(unknown)}: the model knows {', '.join(names)}"
        )
    return torch.tensor([names.index(name) for name in classes])


def _read_pictures(
    sources: Sequence[Source], detector: DetInferencer, unreadable: list[Path]
) -> Iterator[tuple[Source, np.ndarray]]:
    load = _loader(detector)
    for source in track(sources, "pictures") if sources else ():
        image = load(source.path)
        if image is None:
            unreadable.append(source.path)
        else:
            yield source, image


def _loader(detector: DetInferencer) -> Callable[[Path], np.ndarray | None]:
    """What reads a file as the test pipeline does; None for one that it cannot."""
    steps: list[Any] = detector.pipeline.transforms
    loaders = [step.from_file for step in steps if hasattr(step, "from_file")]
    from_file: LoadImageFromFile = loaders[0]

    def load(path: Path) -> np.ndarray | None:
        # OpenCV raises, or returns nothing, by what is wrong with the file.
        try:
            return from_file({"img_path": str(path)})["img"].astype(np.uint8)
        except (AssertionError, AttributeError, OSError, ValueError, cv2.error):
            return None

    return load


def _detect_in_video(find: _Finder, source: Source, out: Path, results: Results) -> int:
    """Write the drawn video; the number of frames that could be read."""
    with mmcv.VideoReader(str(source.path)) as reader:
        if not reader.opened or reader.width < 1 or reader.height < 1:
            return 0
        # A file that tells none plays at the rate of films on most players.
        frame_rate = reader.fps if reader.fps > 0 else 25.0
        frames = enumerate(
            track(reader, f"{source.path.name}", total=max(reader.frame_cnt, 1))
        )
        writer = video_id = None
        count = 0
        for frame_id, image, sample in find(frames):
            height, width = image.shape[:2]
            if writer is None:
                video = {
                    "file_name": source.path.as_posix(),
                    "height": height,
                    "width": width,
                }
                video_id = results.add_video(
                    **video, frame_rate=frame_rate, drawn=source.target.as_posix()
                )
                writer = _open_writer(out / source.target, frame_rate, width, height)
            writer.write(find.draw(image, sample))
            results.add_image(
                sample.pred_instances, **video, video_id=video_id, frame_id=frame_id
            )
            count += 1
        if writer is not None:
            writer.release()
    return count


def _open_writer(
    path: Path, frame_rate: float, width: int, height: int
) -> cv2.VideoWriter:
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), codec, frame_rate, (width, height))
    if not writer.isOpened():
        raise ConfigError(
            f"this OpenCV cannot write {path} of {width}×{height} at {frame_rate:g} "
            "frames a second"
        )
    return writer
