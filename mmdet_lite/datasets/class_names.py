"""Names of the classes that a detector tells apart."""

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from ..config_parts import keys_of, parts_of
from .data_sources import innermost_dataset, without_data


def classes_of_checkpoint(meta: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The names that mmdet of any version left in a checkpoint, empty without any.

    Args:
        meta: of the checkpoint.
    """
    # 3.0's release candidates had names in capitals, 2.x had them in meta itself.
    meta = {**(meta or {}), **((meta or {}).get("dataset_meta") or {})}
    return _as_tuple(meta.get("classes") or meta.get("CLASSES") or ())


def classes_of_config(cfg: Config) -> tuple[str, ...]:
    """The names of the test set's classes, empty where there is no test set.

    Args:
        cfg: a whole config.
    """
    dataset_cfg = (cfg.get("test_dataloader") or {}).get("dataset")
    if dataset_cfg is None:
        return ()
    dataset = without_data(innermost_dataset(dataset_cfg))
    return _as_tuple(dataset.metainfo.get("classes") or ())


def numbers_of_classes(model: Any, name: str = "model") -> dict[str, int]:
    """How many classes the box heads of a model tell apart, by their names.

    Args:
        model: its config, or a part of it.
        name: of the part.
    """
    return {
        f"{path}.num_classes": part["num_classes"]
        for path, part in parts_of(model, name)
        if "bbox_head" in keys_of(path)[-1] and "num_classes" in part
    }


def _as_tuple(classes: Any) -> tuple[str, ...]:
    return (classes,) if isinstance(classes, str) else tuple(classes)
