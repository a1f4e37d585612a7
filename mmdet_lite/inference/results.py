"""What was found, in one file of COCO's form."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.structures import InstanceData


class Results:
    """Collects detections and writes them as a COCO annotation file.

    The file is one object:

    - ``info``: whatever the caller says of the run;
    - ``categories``: ``id`` from 1 on in the order of the model's classes, ``name``;
    - ``images``: ``id``, ``file_name`` as it was given, ``height`` and ``width`` in
      pixels, and ``drawn``, the path of what was drawn of it relative to the file; a
      frame of a video has the video's ``file_name``, ``video_id`` and ``frame_id``,
      which counts from 0;
    - ``videos``: ``id``, ``file_name``, ``height``, ``width``, ``frame_rate`` per
      second, ``drawn``; empty without one;
    - ``annotations``: ``id``, ``image_id``, ``category_id``, ``bbox`` as x, y of the
      upper left corner, width and height in pixels of the file, ``area``, ``iscrowd``
      0, and ``score``, best first for each image.

    Args:
        classes: names of the model's classes.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.images: list[dict[str, Any]] = []
        self.videos: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self._categories = [
            {"id": index, "name": name} for index, name in enumerate(classes, 1)
        ]

    def add_video(self, **row: Any) -> int:
        """Add a video, and return its id."""
        self.videos.append({"id": len(self.videos) + 1, **row})
        return len(self.videos)

    def add_image(self, instances: InstanceData, **row: Any) -> None:
        """Add an image and what was found in it.

        Args:
            instances: ``bboxes`` (num, 4) as x1, y1, x2, y2 in pixels, ``scores`` and
                ``labels`` (num,).
            **row: what the file says of the image.
        """
        self.images.append({"id": len(self.images) + 1, **row})
        order = instances.scores.argsort(descending=True)
        corners, scores, labels = (
            instances[name][order].tolist() for name in ("bboxes", "scores", "labels")
        )
        for (x1, y1, x2, y2), score, label in zip(corners, scores, labels, strict=True):
            width, height = x2 - x1, y2 - y1
            self.annotations.append(
                {
                    "id": len(self.annotations) + 1,
                    "image_id": len(self.images),
                    "category_id": label + 1,
                    "bbox": [round(number, 2) for number in (x1, y1, width, height)],
                    "area": round(width * height, 2),
                    "iscrowd": 0,
                    "score": round(score, 4),
                }
            )

    def write(self, path: str | Path, info: dict[str, Any]) -> None:
        """Write the file, a row to a line."""
        sections = {
            "categories": self._categories,
            "images": self.images,
            "videos": self.videos,
            "annotations": self.annotations,
        }
        lines = [f'"info": {json.dumps(info)}']
        for name, rows in sections.items():
            body = ",\n".join(f"  {json.dumps(row)}" for row in rows)
            lines.append(f'"{name}": [\n{body}\n]' if rows else f'"{name}": []')
        Path(path).write_text("{\n" + ",\n".join(lines) + "\n}\n")
