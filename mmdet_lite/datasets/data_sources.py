"""What the data loaders of a config read: annotation files, classes, images."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mmdet.datasets import CocoDataset, CocoPanopticDataset
from mmdet.registry import DATASETS
from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset

from ..errors import ConfigError
from ..type_names import class_of, type_name
from .checked_coco import CheckedCocoDataset
from .image_problems import ImageReader
from .local_files import image_reader, is_local
from .pipelines import pipeline_steps


@dataclass(frozen=True)
class DataSource:
    """A COCO data set of a config.

    Attributes:
        split: ``'train'``, ``'val'`` or ``'test'``.
        ann_file: path of its annotation file.
        classes: names of its classes; None for those of the file.
        reader: how its images are read; None where that is not from local files.
        filter_cfg: what images its training leaves out.
        checked: whether it is a ``CheckedCocoDataset``, which takes the file as read.
        skips: whether faulty images and annotations are left out.
        joined: how many data sets its data loader joins, this one among them.
    """

    split: str
    ann_file: str
    classes: tuple[str, ...] | None = None
    reader: ImageReader | None = None
    filter_cfg: dict | None = None
    checked: bool = False
    skips: bool = False
    joined: int = 1

    @property
    def where(self) -> str:
        """The part of the config that names it."""
        return f"{self.split}_dataloader"


def data_sources(cfg: Config, splits: Iterable[str]) -> list[DataSource]:
    """Find the local COCO data sets of a config, through wrappers, without loading.

    Args:
        cfg: a whole config.
        splits: of ``'train'``, ``'val'`` and ``'test'``.

    Returns:
        list: without those of other formats or on remote storage.

    Raises:
        ConfigError: the arguments of a data set do not fit it.
    """
    sources: list[DataSource] = []
    for split in splits:
        loader = cfg.get(f"{split}_dataloader")
        if loader is not None:
            sources += _sources_in(loader.get("dataset"), split)
    return sources


def set_faulty_data(cfg: Config, faulty: str | None = None) -> None:
    """Let the training sets of a config check what they read.

    Args:
        cfg: a whole config, whose ``CocoDataset`` of the training become
            :class:`~mmdet_lite.datasets.CheckedCocoDataset`; others stay.
        faulty: its argument; None for the config's.

    Raises:
        ConfigError: the argument is given, and none of the data sets takes it.
    """
    loader = cfg.get("train_dataloader") or {}
    found = 0
    joined = list(innermost_datasets(loader.get("dataset", ConfigDict())))
    for dataset_cfg in joined:
        if type_name(dataset_cfg) == CocoDataset.__name__:
            # Whose registry has it is said, as default_scope may be another.
            dataset_cfg.type = f"mmdet.{CheckedCocoDataset.__name__}"
        if type_name(dataset_cfg) == CheckedCocoDataset.__name__:
            found += 1
            if len(joined) > 1:
                dataset_cfg.setdefault("boxes_elsewhere", True)
            if faulty is not None:
                dataset_cfg.faulty = faulty
    if faulty is not None and not found:
        raise ConfigError("--faulty-data needs a training set of CocoDataset")


def innermost_dataset(dataset_cfg: ConfigDict) -> ConfigDict:
    """The data set inside of its wrappers.

    Raises:
        ConfigError: there are several.
    """
    found = list(innermost_datasets(dataset_cfg))
    if len(found) != 1:
        raise ConfigError(
            f"one data set is expected, but {dataset_cfg.get('type')} joins "
            f"{len(found)}"
        )
    return found[0]


def reads_coco(cls: Any) -> bool:
    """Whether a data set reads COCO's format as mmdet's ``CocoDataset`` does.

    Others have a format, or an order of labels, of their own.
    """
    return (
        cls is not None
        and issubclass(cls, CocoDataset)
        and not issubclass(cls, CocoPanopticDataset)
        and cls.load_data_list is CocoDataset.load_data_list
    )


def without_data(dataset_cfg: ConfigDict) -> BaseDataset:
    """Build a data set for its settings: mmengine joins paths and resolves metainfo."""
    return DATASETS.build({**dataset_cfg, "lazy_init": True, "pipeline": []})


def innermost_datasets(dataset_cfg: ConfigDict) -> Iterator[ConfigDict]:
    """The data sets inside of wrappers, of all that they join.

    Args:
        dataset_cfg: a data set, or wrappers around one or several.

    Yields:
        ConfigDict: a data set that is no wrapper.
    """
    if "dataset" in dataset_cfg:
        yield from innermost_datasets(dataset_cfg.dataset)
    elif "datasets" in dataset_cfg:
        for inner_cfg in dataset_cfg.datasets:
            yield from innermost_datasets(inner_cfg)
    else:
        yield dataset_cfg


def _sources_in(dataset_cfg: Any, split: str) -> Iterator[DataSource]:
    where = f"{split}_dataloader"
    if not isinstance(dataset_cfg, dict):
        raise ConfigError(f"{where}.dataset must be a dict, but is {dataset_cfg!r}")
    joined = list(innermost_datasets(dataset_cfg))
    for inner_cfg in joined:
        if not reads_coco(class_of(inner_cfg, DATASETS)):
            continue
        try:
            dataset = without_data(inner_cfg)
        except Exception as error:
            raise ConfigError(f"the data set of {where}: {error}") from error
        if not is_local(dataset.ann_file, dataset.backend_args):
            continue
        classes = dataset.metainfo.get("classes")
        if not isinstance(classes, list | tuple) or not all(
            isinstance(name, str) for name in classes
        ):
            raise ConfigError(
                f"metainfo.classes of {where} must be names, but is {classes!r}"
            )
        yield DataSource(
            split,
            dataset.ann_file,
            tuple(classes),
            _reader_of(dataset, inner_cfg),
            None if dataset.test_mode else dataset.filter_cfg,
            isinstance(dataset, CheckedCocoDataset),
            getattr(dataset, "faulty", "stop") == "skip",
            len(joined),
        )


def _reader_of(dataset: CocoDataset, dataset_cfg: ConfigDict) -> ImageReader | None:
    for step in pipeline_steps(dataset_cfg, "pipeline"):
        if type_name(step).endswith("LoadImageFromFile"):
            return image_reader(dataset, step)
    return None
