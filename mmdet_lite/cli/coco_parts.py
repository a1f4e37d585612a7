"""The parts of a config that depend on a COCO data set: data sets, metrics, heads."""

from typing import Any

from mmdet.evaluation import CityScapesMetric, CocoMetric
from mmdet.registry import DATASETS, METRICS
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import Registry

from ..config_parts import keys_of, parts_of
from ..datasets.data_sources import innermost_dataset, reads_coco
from ..datasets.pipelines import pipeline_steps
from ..errors import ConfigError
from ..type_names import class_of


def coco_dataset(cfg: Config, split: str) -> ConfigDict:
    """The data set of a split, inside of its wrappers.

    Args:
        cfg: a whole config.
        split: ``'train'`` or ``'val'``.

    Raises:
        ConfigError: there is none or more than one, or it is not in COCO's format.
    """
    loader = cfg.get(f"{split}_dataloader")
    if loader is None:
        raise ConfigError(f"--data-root needs a config with a {split}_dataloader")
    dataset = innermost_dataset(loader.dataset)
    cls = _class_of(dataset, DATASETS)
    if not reads_coco(cls):
        raise ConfigError(
            f"--data-root needs a config whose data sets are in COCO's format, but "
            f"{split}_dataloader has {cls.__name__}"
        )
    return dataset


def require_loadable(
    dataset: ConfigDict, ann_file: str, content: dict[str, Any]
) -> None:
    """Refuse an annotation file without what the pipeline of a data set loads.

    Args:
        dataset: of :func:`coco_dataset`.
        ann_file: path of the file, for the message.
        content: of the file.

    Raises:
        ConfigError: masks are wanted and an annotation has none, or maps are.
    """
    for step in pipeline_steps(dataset, "pipeline"):
        if step.get("with_seg"):
            raise ConfigError(
                "the config trains on maps of semantic segmentation (with_seg), which "
                "--data-root does not take"
            )
        if step.get("with_mask"):
            rows = content["annotations"]
            bare = sum(
                isinstance(row, dict) and not row.get("segmentation") for row in rows
            )
            if bare:
                raise ConfigError(
                    f"the config trains on masks (with_mask), but {bare} of "
                    f"{len(rows)} annotations of {ann_file} have no segmentation"
                )


def evaluate_by(cfg: Config, ann_file: str) -> None:
    """Compute COCO's metrics by class from an annotation file, in validation and test.

    A metric of Cityscapes, which reads that data set's own maps, is dropped.

    Args:
        cfg: a whole config; it is changed.
        ann_file: path of the file.

    Raises:
        ConfigError: there is no metric.
    """
    given = cfg.get("val_evaluator") or []
    metrics = []
    for metric in given if isinstance(given, list) else [given]:
        cls = _class_of(metric, METRICS)
        if issubclass(cls, CityScapesMetric):
            print_log(f"val_evaluator: {cls.__name__} is of Cityscapes and left out")
            continue
        if issubclass(cls, CocoMetric):
            metric.update(ann_file=ann_file, classwise=True)
        metrics.append(metric)
    if not metrics:
        raise ConfigError("--data-root needs a config with a CocoMetric as evaluator")
    cfg.val_evaluator = metrics if len(metrics) > 1 else metrics[0]
    cfg.test_evaluator = cfg.val_evaluator


def set_num_classes(cfg: Config, num_classes: int) -> None:
    """Set how many classes the heads of a detector tell apart, and their losses.

    A head for maps of semantic segmentation has classes of its own and keeps them.

    Args:
        cfg: a whole config; it is changed.
        num_classes: how many.

    Raises:
        ConfigError: the model has no ``num_classes``.
    """
    parts = [
        part
        for path, part in parts_of(cfg.model, "model")
        if "num_classes" in part and "semantic_head" not in keys_of(path)
    ]
    if not parts:
        raise ConfigError(
            f"--data-root needs a model whose heads have num_classes, but "
            f"{cfg.model.type} has none"
        )
    for part in parts:
        part["num_classes"] = num_classes


def _class_of(part: ConfigDict, registry: Registry) -> Any:
    cls = class_of(part, registry)
    if not isinstance(cls, type):
        raise ConfigError(f"there is no {registry.name} {part.get('type')!r}")
    return cls
