"""Check the data of a config before anything is built on it.

mmdet finds most of these faults late, in other words, or never: categories whose names
are not the config's leave every image without boxes, and training goes on.
"""

import json
import math
from pathlib import Path

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmengine.config import Config, ConfigDict

from ..errors import ConfigError


def check_data(cfg: Config, splits: tuple[str, ...] = ("train", "val")) -> None:
    """Check the COCO-format data sets of a config against their files and the model.

    Data sets of other formats, or on remote storage, are left to mmdet.

    Args:
        cfg: a whole config.
        splits: the data loaders to check, of ``'train'``, ``'val'`` and ``'test'``.

    Raises:
        ConfigError: an annotation file is missing, unreadable or holds a broken row;
            the classes of the data set are not among its categories; or their number
            is not the ``num_classes`` of the model's head.
    """
    bbox_head = cfg.model.get("bbox_head", {})
    num_classes = bbox_head.get("num_classes")
    if "contrastive_cfg" in bbox_head:
        # A head that compares boxes with text has slots for tokens, not classes.
        num_classes = None
    checked = set()
    for split in splits:
        loader = cfg.get(f"{split}_dataloader")
        if loader is None:
            continue
        for dataset in _coco_datasets(loader.dataset):
            classes = tuple(dataset.metainfo["classes"])
            where = f"{split}_dataloader"
            if num_classes is not None and num_classes != len(classes):
                raise ConfigError(
                    f"model.bbox_head.num_classes is {num_classes}, but the data set "
                    f"of {where} has {len(classes)} classes: {_listed(classes)}"
                )
            if (dataset.ann_file, classes) not in checked:
                # Of images to be submitted elsewhere nothing but the list is given.
                required = {"images", "categories"}
                if split != "test":
                    required.add("annotations")
                _check_annotation_file(dataset.ann_file, classes, where, required)
                checked.add((dataset.ann_file, classes))
    for split in splits:
        evaluators = cfg.get(f"{split}_evaluator") or []
        if isinstance(evaluators, dict):
            evaluators = [evaluators]
        for evaluator in evaluators:
            ann_file = evaluator.get("ann_file")
            if ann_file and "://" not in ann_file and not Path(ann_file).is_file():
                raise ConfigError(
                    f"the annotation file of {split}_evaluator does not exist: "
                    f"{ann_file}"
                )


def _coco_datasets(dataset_cfg: ConfigDict) -> list[CocoDataset]:
    """Build the local COCO data sets of a config, through wrappers, without loading."""
    if "dataset" in dataset_cfg:
        return _coco_datasets(dataset_cfg.dataset)
    if "datasets" in dataset_cfg:
        return [
            dataset
            for inner_cfg in dataset_cfg.datasets
            for dataset in _coco_datasets(inner_cfg)
        ]
    cls = dataset_cfg.type
    if isinstance(cls, str):
        cls = DATASETS.get(cls)
    if cls is None or not issubclass(cls, CocoDataset):
        return []
    # mmengine joins data_root and resolves metainfo; the pipeline is not needed yet.
    dataset = DATASETS.build({**dataset_cfg, "lazy_init": True, "pipeline": []})
    return [] if "://" in dataset.ann_file else [dataset]


def _check_annotation_file(
    ann_file: str, classes: tuple[str, ...], where: str, required: set[str]
) -> None:
    if not Path(ann_file).is_file():
        raise ConfigError(
            f"the annotation file of {where} does not exist: {ann_file} (set data_root "
            "and ann_file of its dataset)"
        )
    try:
        content = json.loads(Path(ann_file).read_bytes())
    except ValueError as error:
        raise ConfigError(f"{ann_file} is not readable as JSON: {error}") from error
    missing = required - set(content)
    if missing:
        raise ConfigError(
            f"{ann_file} is not a COCO annotation file: it lacks "
            f"{', '.join(sorted(missing))}"
        )
    categories = {row["id"]: row["name"] for row in content["categories"]}
    unknown = [name for name in classes if name not in categories.values()]
    if unknown:
        raise ConfigError(
            f"{len(unknown)} of the {len(classes)} classes of {where} are not "
            f"categories of {ann_file}: {_listed(unknown)}; the file has "
            f"{_listed(categories.values())}. Set metainfo=dict(classes=...) of the "
            "data set and num_classes of the model to the file's"
        )
    image_ids = {row["id"] for row in content["images"]}
    for row in content.get("annotations", ()):
        fault = _fault_of(row, image_ids, categories)
        if fault:
            raise ConfigError(f"{ann_file}: annotation {row.get('id')} {fault}")


def _fault_of(row: dict, image_ids: set, categories: dict) -> str | None:
    """What is wrong with an annotation that would break or silently spoil training."""
    if row.get("image_id") not in image_ids:
        return f"is of image {row.get('image_id')}, which the file does not list"
    if row.get("category_id") not in categories:
        return f"has category {row.get('category_id')}, which the file does not list"
    box = row.get("bbox")
    if (
        not isinstance(box, list)
        or len(box) != 4
        or not all(isinstance(n, int | float) and math.isfinite(n) for n in box)
    ):
        return f"has bbox {box}, but four finite numbers (x, y, w, h) are expected"
    if box[2] < 0 or box[3] < 0:
        return f"has a bbox of negative size: {box}"
    if "area" not in row:
        return "has no area, which COCO evaluation needs"
    return None


def _listed(names, limit: int = 10) -> str:
    names = [repr(name) for name in names]
    dots = ", …" if len(names) > limit else ""
    return ", ".join(names[:limit]) + dots
