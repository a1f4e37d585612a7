"""mmdet's inferencer for a config and weights that fit each other."""

from pathlib import Path
from typing import Any

import torch
from mmdet.apis import DetInferencer
from mmdet.registry import DATASETS
from mmengine.config import Config

from ..checkpoint.files import read_mmengine
from ..checkpoint.fit import (
    CheckpointMismatchError,
    fit_of,
    require_whole_fit,
    weights_of,
)
from ..errors import ConfigError


def load_detector(
    cfg: Config, weights: str | Path, device: str | None = None
) -> DetInferencer:
    """Build mmdet's ``DetInferencer``, and refuse weights that do not fit.

    The names of the classes are the checkpoint's, or those of the config's test set
    where the checkpoint has none.

    Args:
        cfg: a whole config of a detector; it is not changed.
        weights: path or URL of a checkpoint of mmengine.
        device: such as ``'cpu'`` or ``'cuda:0'``; None for the best one that there is.

    Returns:
        DetInferencer: with the model in its ``model``, in evaluation mode.

    Raises:
        ConfigError: there is no such device, the checkpoint cannot be read or does not
            fit the model, the model needs texts, or the number of class names is not
            the model's.
    """
    if device is not None:
        _require_device(device)
    checkpoint = read_mmengine(weights)
    cfg = Config(cfg.to_dict())
    if "language_model" in cfg.model:
        raise ConfigError(
            f"{cfg.model.type} finds what texts name: call mmdet's DetInferencer with "
            "texts=..."
        )
    visualizer = cfg.get("visualizer") or {"type": "DetLocalVisualizer"}
    visualizer["vis_backends"] = None  # Nothing is logged.
    cfg.visualizer = visualizer
    classes = _classes_of_checkpoint(checkpoint) or _classes_of(cfg)
    heads = cfg.model.get("bbox_head", {})
    num_classes = None if isinstance(heads, list) else heads.get("num_classes")
    if num_classes is not None and len(classes) != num_classes:
        raise ConfigError(
            f"model.bbox_head.num_classes is {num_classes}, but there are names of "
            f"{len(classes)} classes: {', '.join(classes[:10])}"
        )
    detector = _Inferencer(cfg, str(weights), device, show_progress=False)
    try:
        require_whole_fit(fit_of(detector.model, weights_of(checkpoint)))
    except CheckpointMismatchError as error:
        raise ConfigError(f"{weights} does not fit the model: {error}") from error
    meta = detector.model.dataset_meta
    meta["classes"] = classes
    if isinstance(meta["palette"], list) and len(meta["palette"]) < len(classes):
        meta["palette"] = None  # Of another data set; the visualizer has others.
    detector.visualizer.dataset_meta = meta
    return detector


class _Inferencer(DetInferencer):
    """mmdet's, for weights of a training that knew nothing of its data as well."""

    def _load_weights_to_model(self, model, checkpoint, cfg) -> None:
        meta = checkpoint.get("meta") or {}
        checkpoint["meta"] = {k: v for k, v in meta.items() if v is not None}
        super()._load_weights_to_model(model, checkpoint, cfg)


def _require_device(device: str) -> None:
    try:
        wanted = torch.device(device)
        torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"--device {device} cannot be used: {reason}") from error


def _classes_of_checkpoint(checkpoint: dict[str, Any]) -> tuple[str, ...]:
    """The names that mmdet of any version left in a checkpoint, empty without any."""
    meta = checkpoint.get("meta") or {}
    # 3.0's release candidates had names in capitals, 2.x had them in meta itself.
    meta = {**meta, **(meta.get("dataset_meta") or {})}
    classes = meta.get("classes") or meta.get("CLASSES") or ()
    return (classes,) if isinstance(classes, str) else tuple(classes)


def _classes_of(cfg: Config) -> tuple[str, ...]:
    dataset = DATASETS.build(
        {**cfg.test_dataloader.dataset, "lazy_init": True, "pipeline": []}
    )
    return tuple(dataset.metainfo["classes"])
