"""What mmengine's logs of a training or a test say."""

import json
from pathlib import Path
from typing import Any

from .errors import ConfigError

METRICS = {
    "AP": "coco/bbox_mAP",
    "AP50": "coco/bbox_mAP_50",
    "AP75": "coco/bbox_mAP_75",
    "APs": "coco/bbox_mAP_s",
    "APm": "coco/bbox_mAP_m",
    "APl": "coco/bbox_mAP_l",
}
"""Our names of COCO's metrics, and mmdet's."""


def read_training_log(work_dir: str | Path) -> list[dict[str, Any]]:
    """Read all that was logged while a training ran.

    Args:
        work_dir: of the training. An interrupted one left several files.

    Returns:
        list: the lines in the order of time; none where there was no training.
    """
    lines = []
    for file in sorted(Path(work_dir).glob("*/vis_data/scalars.json")):
        for line in file.read_text().splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue  # The training was killed within the line.
    return lines


def read_test_log(work_dir: str | Path) -> list[dict[str, Any]]:
    """Read what tests found.

    Args:
        work_dir: of the tests.

    Returns:
        list: the metrics of each in the order of time; none where there was no test.
    """
    # The file is named after the time, as its folder; pictures and results of other
    # commands may lie beside it.
    files = sorted(
        file
        for file in Path(work_dir).glob("*/*.json")
        if file.stem == file.parent.name
    )
    return [json.loads(file.read_text()) for file in files]


def evaluations_of(
    lines: list[dict[str, Any]], work_dir: str | Path
) -> list[dict[str, Any]]:
    """The lines of a log that hold COCO's AP, at least one.

    Args:
        lines: of :func:`read_training_log` or :func:`read_test_log`.
        work_dir: where they are from, for the message.

    Raises:
        ConfigError: there is none.
    """
    evaluations = [line for line in lines if METRICS["AP"] in line]
    if not evaluations:
        raise ConfigError(
            f"{work_dir} has no evaluation with {METRICS['AP']} in its logs"
        )
    return evaluations


def last_by_step(lines: list[dict[str, Any]], *keys: str) -> list[dict[str, Any]]:
    """The lines of a training that have a key, one a step, in the order of steps.

    Args:
        lines: of :func:`read_training_log`. What an interruption had repeated counts
            once, as it was the last time.
        *keys: of which they must have one.
    """
    by_step = {line["step"]: line for line in lines if not line.keys().isdisjoint(keys)}
    return [by_step[step] for step in sorted(by_step)]
