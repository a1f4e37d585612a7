"""Detect in pictures and videos, draw what was found and write it down."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import mmcv
import numpy as np
import torch
from mmcv.transforms import LoadImageFromFile
from mmdet.apis import DetInferencer
from rich.progress import track

from ..errors import ConfigError
from .finder import Finder
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
        unusable: files that could not be used, or not all frames of them, and why.
    """

    results: Path
    images: int = 0
    frames: int = 0
    detections: int = 0
    unusable: dict[Path, str] = field(default_factory=dict)


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
    be read, or that the test pipeline does not take, is passed over. What was found
    until an error or Ctrl-C ends the run is written all the same.

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
        Outcome: what was read, found and could not be used.

    Raises:
        ConfigError: a class is not the model's, the batch size is below 1, the
            threshold is not from 0 to 1, or the model predicts no boxes.
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
    find = Finder(detector, score_thr, keep, batch_size)
    try:
        for source, image, sample in find(
            _read_pictures(sources, detector, outcome.unusable),
            lambda source, reason: outcome.unusable.update({source.path: reason}),
        ):
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
                outcome.frames += _detect_in_video(
                    find, source, out, results, outcome.unusable
                )
    finally:
        outcome.detections = len(results.annotations)
        results.write(outcome.results, info or {})
    return outcome


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
    sources: Sequence[Source], detector: DetInferencer, unusable: dict[Path, str]
) -> Iterator[tuple[Source, np.ndarray]]:
    load = _loader(detector)
    pictures = [source for source in sources if not source.is_video]
    for source in track(pictures, "pictures") if pictures else ():
        try:
            image = load(source.path)
        # OpenCV raises, or returns nothing, by what is wrong with the file.
        except (
            AssertionError,
            AttributeError,
            OSError,
            ValueError,
            cv2.error,
        ) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            unusable[source.path] = reason or "cannot be read as a picture"
        else:
            yield source, image


def _loader(detector: DetInferencer) -> Callable[[Path], np.ndarray]:
    """What reads a file as the test pipeline does."""
    steps: list[Any] = detector.pipeline.transforms
    loaders = [step.from_file for step in steps if hasattr(step, "from_file")]
    from_file: LoadImageFromFile = loaders[0]
    return lambda path: from_file({"img_path": str(path)})["img"].astype(np.uint8)


def _detect_in_video(
    find: Finder,
    source: Source,
    out: Path,
    results: Results,
    unusable: dict[Path, str],
) -> int:
    """Write the drawn video; the number of frames that were detected in."""
    with mmcv.VideoReader(str(source.path)) as reader:
        if not reader.opened or reader.width < 1 or reader.height < 1:
            unusable[source.path] = "cannot be read as a video"
            return 0
        # A file that tells none plays at the rate of films on most players.
        frame_rate = reader.fps if reader.fps > 0 else 25.0
        frames = enumerate(
            track(reader, f"{source.path.name}", total=max(reader.frame_cnt, 1))
        )
        writer = video_id = None
        count = 0
        try:
            for frame_id, image, sample in find(
                frames,
                lambda frame_id, reason: unusable.update(
                    {source.path: f"frame {frame_id}: {reason}"}
                ),
            ):
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
                    writer = _open_writer(
                        out / source.target, frame_rate, width, height
                    )
                writer.write(find.draw(image, sample))
                results.add_image(
                    sample.pred_instances, **video, video_id=video_id, frame_id=frame_id
                )
                count += 1
        finally:
            if writer is not None:
                writer.release()
    if not count:
        unusable.setdefault(source.path, "has no frame that can be read")
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
