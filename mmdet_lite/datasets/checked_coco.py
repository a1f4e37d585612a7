"""A COCO data set that knows what to do with faulty images and boxes."""

from typing import Any

import cv2
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmdet.registry import DATASETS
from mmengine.logging import print_log

from ..errors import ConfigError
from .coco_file import read_annotation_file
from .coco_problems import annotation_problems, without_faulty_rows
from .image_problems import ImageReader, quick_image_problems
from .local_files import image_reader
from .one_reader import has_other_readers, load_in_first_process
from .problems import BACKGROUND, Level, in_one_line, serious

# What is raised for an image that cannot be read; the last by mmcv.
_READING = (OSError, cv2.error, AssertionError)


@DATASETS.register_module()
class CheckedCocoDataset(CocoDataset):
    """mmdet's ``CocoDataset``, which stops at faulty data or leaves them out.

    Both are said: how many images and annotations are left out when the file is read,
    and which image when one turns out to be unreadable during a training. Of a run of
    several processes the first reads the file, for all.

    Args:
        *args: as ``CocoDataset``.
        faulty (str): ``'stop'`` at what is wrong with an image or an annotation, or
            ``'skip'`` it, which a training set may only: a score on some of the data
            would be another. Defaults to ``'stop'``.
        boxes_elsewhere (bool): whether it is one of several data sets, so that this one
            may have no boxes, and no list of annotations, unless ``filter_cfg`` leaves
            out images without a box. Defaults to False.
        **kwargs: as ``CocoDataset``.

    Raises:
        ConfigError: the setting is neither; when the file is read, at what is wrong
            with it as a whole, or with any part of it; when an image is, at one that
            cannot be.
    """

    def __init__(
        self, *args, faulty: str = "stop", boxes_elsewhere: bool = False, **kwargs
    ) -> None:
        if faulty not in ("stop", "skip"):
            raise ConfigError(f"faulty must be 'stop' or 'skip', but got {faulty!r}")
        if faulty == "skip" and kwargs.get("test_mode", False):
            raise ConfigError("faulty='skip' is for training sets, without test_mode")
        self.faulty = faulty
        self.boxes_elsewhere = boxes_elsewhere
        super().__init__(*args, **kwargs)

    def full_init(self) -> None:
        """Load the data as mmdet does, in the first process of several.

        Raises:
            ConfigError: of what is wrong with the file, in every process.
        """
        if self._fully_initialized or not has_other_readers():
            super().full_init()
        else:
            load_in_first_process(self, super().full_init)

    def COCOAPI(self, ann_file: str) -> COCO:
        """Check the file, in place of the class of this name that would read it.

        Args:
            ann_file: path of the file.
        """
        content = read_annotation_file(ann_file)
        found = self._problems_of(content)
        problems = serious(found)
        stopping = [
            problem
            for problem in problems
            if self.faulty == "stop" or problem.kind.level is Level.STOP
        ]
        if stopping:
            raise ConfigError(in_one_line(ann_file, stopping))
        if problems:
            before, content = content, without_faulty_rows(content, problems)
            print_log(_left_out(ann_file, before, content), logger="current")
            # What is left may be nothing, where there was something.
            had_none = any(problem.kind is BACKGROUND for problem in found)
            left = self._problems_of(content, of_images=False, may_lack_boxes=had_none)
            stopping = serious(left)
            if stopping:
                raise ConfigError(in_one_line(ann_file, stopping))
        coco = COCO()
        coco.dataset = content
        coco.createIndex()
        # mmdet's names of what the index has made anew.
        coco.img_ann_map, coco.cat_img_map = coco.imgToAnns, coco.catToImgs
        return coco

    def prepare_data(self, idx: int) -> Any:
        """Load and transform an image as mmdet does, naming it where that fails.

        Args:
            idx: place of the image in the data set.

        Returns:
            What the pipeline makes of it; None, for another image to be taken, where it
            cannot be read and is to be skipped.
        """
        try:
            return super().prepare_data(idx)
        except _READING as error:
            if isinstance(error, AssertionError) and "load image" not in str(error):
                raise
            path = self.get_data_info(idx)["img_path"]
            said = " ".join(str(error).split())
            if self._can_be_read(idx):
                # A file of another kind is missing, or a step cannot take the image.
                message = f"the pipeline fails on the image {path}: {said}"
                raise ConfigError(message) from error
            if self.faulty == "skip":
                line = f"left out, it cannot be read: {path} ({said})"
                print_log(line, logger="current")
                return None
            raise ConfigError(f"the image cannot be read: {path} ({said})") from error

    def _can_be_read(self, idx: int) -> bool:
        """Whether the step that loads the image does so alone, or is not known."""
        load = self._loading_step()
        if load is None:
            return True
        try:
            load(self.get_data_info(idx))
        except _READING:
            return False
        return True

    def _problems_of(
        self, content: Any, of_images: bool = True, may_lack_boxes: bool = True
    ) -> list:
        problems = annotation_problems(
            content,
            self.metainfo["classes"],
            None if self.test_mode else self.filter_cfg,
            scored=self.test_mode,
            boxes_elsewhere=self.boxes_elsewhere and may_lack_boxes,
        )
        stops = any(problem.kind.level is Level.STOP for problem in problems)
        # Where nothing is skipped, an image that is missing is named when it is read.
        if of_images and self.faulty == "skip" and not stops:
            reader = self._reader()
            if reader is not None:
                problems += quick_image_problems(content["images"], reader)
        return problems

    def _reader(self) -> ImageReader | None:
        load = self._loading_step()
        return None if load is None else image_reader(self, vars(load))

    def _loading_step(self) -> LoadImageFromFile | None:
        return next(
            (
                step
                for step in self.pipeline.transforms
                if isinstance(step, LoadImageFromFile)
            ),
            None,
        )


def _left_out(ann_file: str, before: dict, after: dict) -> str:
    numbers = (
        (name, len(before.get(name, [])), len(after[name]))
        for name in ("images", "annotations")
    )
    counts = (f"{all_ - kept} of {all_} {name}" for name, all_, kept in numbers)
    return f"{ann_file}: left out {' and '.join(counts)}, which are faulty"
