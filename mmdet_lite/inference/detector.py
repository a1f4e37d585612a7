"""mmdet's inferencer for a config and weights that fit each other."""

from pathlib import Path

import torch
from mmdet.apis import DetInferencer
from mmengine.config import Config

from ..checkpoint.files import read_mmengine
from ..checkpoint.fit import require_whole
from ..datasets.class_names import classes_of_checkpoint, classes_of_config
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
    classes = classes_of_checkpoint(checkpoint.get("meta")) or classes_of_config(cfg)
    heads = cfg.model.get("bbox_head", {})
    num_classes = None if isinstance(heads, list) else heads.get("num_classes")
    if num_classes is not None and len(classes) != num_classes:
        raise ConfigError(
            f"model.bbox_head.num_classes is {num_classes}, but there are names of "
            f"{len(classes)} classes: {', '.join(classes[:10])}"
        )
    detector = _Inferencer(cfg, str(weights), device, show_progress=False)
    require_whole(detector.model, checkpoint, weights)
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
