"""Check the data of a config before anything is built on it.

mmdet finds most of these faults late, in other words, or never: categories whose names
are not the config's leave every image without boxes, and training goes on.
"""

import argparse
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from mmengine.config import Config
from mmengine.logging import print_log

from ..datasets.class_names import numbers_of_classes
from ..datasets.coco_file import forget_annotation_files, read_annotation_file
from ..datasets.coco_problems import annotation_problems
from ..datasets.data_sources import DataSource, data_sources
from ..datasets.image_problems import ImageReader, quick_image_problems
from ..datasets.local_files import is_local
from ..datasets.problems import (
    BACKGROUND,
    CLASSES,
    NO_BOX,
    NOT_COCO,
    Level,
    Problem,
    in_one_line,
    listed,
    report,
    serious,
)
from ..errors import ConfigError
from ..runtime.launcher import is_first_process
from ..type_names import class_of
from .numbers import positive_int

ImageCheck = Callable[[Any, ImageReader], list[Problem]]


def check_data(cfg: Config, splits: tuple[str, ...] = ("train", "val")) -> None:
    """Check the COCO-format data sets of a config against their files and the model.

    It takes seconds: every annotation is looked at and every image file asked for, but
    of a large data set the headers of a part only, and no picture is decoded. What
    training will leave out is printed. Data sets of other formats, or on remote
    storage, are left to mmdet. Of a distributed run the first process checks for all.

    Args:
        cfg: a whole config.
        splits: the data loaders to check, of ``'train'``, ``'val'`` and ``'test'``.

    Raises:
        ConfigError: something is wrong with an annotation file, an image or the
            classes of the data set or of the model; the message says the first fault.
    """
    sources = data_sources(cfg, splits)
    # The others wait for the first before they build anything.
    if is_first_process(cfg.get("launcher", "none")):
        found = [(source, _check_source(cfg, source)) for source in sources]
        for where, problem in _empty_splits(found):
            raise ConfigError(in_one_line(where, [problem]))
    forget_annotation_files(but=[s.ann_file for s in sources if s.checked])
    for split in splits:
        _check_evaluators(cfg, split)


def _check_source(cfg: Config, source: DataSource) -> list[Problem]:
    problems = source_problems(cfg, source, quick_image_problems)
    stopping = [
        problem
        for problem in serious(problems)
        if not source.skips or problem.kind.level is Level.STOP
    ]
    if stopping:
        raise ConfigError(in_one_line(f"{source.where}, {source.ann_file}", stopping))
    notes = [problem for problem in problems if problem.kind.level is Level.NOTE]
    if notes:
        print_log(f"{source.where}, {source.ann_file}:")
        print_log("\n".join(report(notes, examples=1)))
    return problems


def source_problems(
    cfg: Config, source: DataSource, image_problems: ImageCheck
) -> list[Problem]:
    """List what is wrong with a data set of a config.

    Args:
        cfg: the whole config; an empty one for data that no config names yet.
        source: one of :func:`~mmdet_lite.datasets.data_sources.data_sources`.
        image_problems: looks at the images, given their rows and how they are read.

    Returns:
        list: the problems, of the model, the annotation file and the images.
    """
    problems = _model_problems(cfg, source)
    try:
        content = read_annotation_file(source.ann_file, keep=True)
    except ConfigError as error:
        return [*problems, Problem(NOT_COCO, str(error))]
    is_test = source.split == "test" and isinstance(content, dict)
    problems += annotation_problems(
        content,
        source.classes,
        source.filter_cfg,
        # Of images to be submitted elsewhere nothing but the list is given.
        annotated=not is_test or bool(content.get("annotations")),
        scored=_reads_annotations(cfg, source.split),
        boxes_elsewhere=source.joined > 1,
        # Of data that no config names, all sets are of the training's classes.
        complete=not cfg,
    )
    rows = content.get("images") if isinstance(content, dict) else None
    if source.reader is not None and isinstance(rows, list):
        problems += image_problems(rows, source.reader)
    return problems


def add_problem_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--workers`` and ``--examples``: how to look for problems and list them."""
    parser.add_argument(
        "--workers",
        type=positive_int,
        default=os.cpu_count() or 1,
        help="processes that read images",
    )
    parser.add_argument(
        "--examples",
        type=positive_int,
        default=5,
        help="how many of each kind of problem to spell out",
    )


def print_problems(
    cfg: Config,
    sources: Iterable[DataSource],
    image_problems: ImageCheck,
    examples: int = 5,
) -> int:
    """List what is wrong with data sets on stdout.

    Args:
        cfg: the whole config; an empty one for data that no config names yet.
        sources: as of :func:`source_problems`.
        image_problems: the same.
        examples: how many of each kind to spell out.

    Returns:
        int: how many must not be trained on.
    """
    num_faults = 0
    found = []
    for source in sources:
        print(f"{source.split}: {source.ann_file}", flush=True)
        problems = source_problems(cfg, source, image_problems)
        num_faults += len(serious(problems))
        print("\n".join(report(problems, examples) or ["nothing is wrong"]))
        found.append((source, problems))
    for where, problem in _empty_splits(found):
        num_faults += 1
        print("\n".join([f"{where}:", *report([problem])]))
    return num_faults


def _empty_splits(
    found: Sequence[tuple[DataSource, list[Problem]]],
) -> Iterator[tuple[str, Problem]]:
    """The data loaders none of whose data sets has a box, given what each has."""
    backgrounds = [
        source
        for source, problems in found
        if any(problem.kind is BACKGROUND for problem in problems)
    ]
    counts = Counter(source.where for source in backgrounds)
    joined = {source.where: source.joined for source in backgrounds}
    for where, count in counts.items():
        if count == joined[where]:
            message = f"none of its {count} data sets has a box to learn from"
            yield where, Problem(NO_BOX, message)


def _model_problems(cfg: Config, source: DataSource) -> list[Problem]:
    model = cfg.get("model", {})
    # A model that is told its classes in words takes any number of them.
    if "language_model" in model or source.classes is None:
        return []
    return [
        Problem(
            CLASSES,
            f"{name} is {number}, but the data set of {source.where} has "
            f"{len(source.classes)} classes: {listed(source.classes)}",
        )
        for name, number in numbers_of_classes(model).items()
        if number != len(source.classes)
    ]


def _check_evaluators(cfg: Config, split: str) -> None:
    for metric in _metrics_of(cfg.get(f"{split}_evaluator")):
        file = metric.get("ann_file")
        if not file or not is_local(file, metric.get("backend_args")):
            continue
        if not Path(file).is_file():
            raise ConfigError(
                f"the annotation file of {split}_evaluator does not exist: {file}"
            )


def _reads_annotations(cfg: Config, split: str) -> bool:
    """Whether COCO's evaluation reads the annotation file of a split."""
    name = f"{split}_evaluator"
    if split == "train" or name not in cfg:
        return split != "train"  # Data that no config names are scored by it.
    kinds = [
        class_of(metric, METRICS)
        for metric in _metrics_of(cfg[name])
        # Without a file it is the data set that is read.
        if metric.get("ann_file")
    ]
    return any(
        isinstance(kind, type) and issubclass(kind, CocoMetric) for kind in kinds
    )


def _metrics_of(evaluator: Any) -> list[dict]:
    """The metrics of an evaluator, or of a list of them."""
    if isinstance(evaluator, list | tuple):
        return [metric for each in evaluator for metric in _metrics_of(each)]
    if not isinstance(evaluator, dict):
        return []
    return _metrics_of(evaluator["metrics"]) if "metrics" in evaluator else [evaluator]
