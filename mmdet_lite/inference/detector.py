"""mmdet's inferencer for a config and weights that fit each other."""

from pathlib import Path

from mmdet.apis import DetInferencer
from mmengine.config import Config

from ..checkpoint.files import read_mmengine
from ..checkpoint.fit import require_whole
from ..datasets.class_names import (
    classes_of_checkpoint,
    classes_of_config,
    numbers_of_classes,
)
from ..datasets.data_sources import innermost_datasets
from ..errors import ConfigError
from ..messages import first_few
from ..runtime.device import existing_device


def load_detector(
    cfg: Config, weights: str | Path, device: str | None = None
) -> DetInferencer:
    """Build mmdet's ``DetInferencer``, and refuse weights that do not fit.

    Images are read as those of the config's test set, the first of several, or of its
    validation set. The names of the classes are the checkpoint's, or those of that set
    where the checkpoint has none.

    Args:
        cfg: a whole config of a detector; it is not changed.
        weights: path or URL of a checkpoint of mmengine.
        device: such as ``'cpu'`` or ``'cuda:0'``; None for the best one that there is.

    Returns:
        DetInferencer: with the model in its ``model``, in evaluation mode.

    Raises:
        ConfigError: there is no such device, the checkpoint cannot be read or does not
            fit the model, the model needs texts, the number of class names is not the
            model's, or the config says nowhere how test images are read.
    """
    if device is not None:
        existing_device(device)
    checkpoint = read_mmengine(weights)
    cfg = Config(cfg.to_dict())
    cfg.test_dataloader = _loader_of_images(cfg)
    if "language_model" in cfg.model:
        raise ConfigError(
            f"{cfg.model.type} finds what texts name: call mmdet's DetInferencer with "
            "texts=..."
        )
    visualizer = cfg.get("visualizer") or {"type": "DetLocalVisualizer"}
    visualizer["vis_backends"] = None  # Nothing is logged.
    cfg.visualizer = visualizer
    classes = classes_of_checkpoint(checkpoint.get("meta")) or classes_of_config(cfg)
    # A panoptic detector has boxes of things, whose names stand before those of stuff.
    fusion = cfg.model.get("panoptic_fusion_head")
    num_stuff = fusion.get("num_stuff_classes", 53) if fusion else 0  # mmdet's default
    for name, number in numbers_of_classes(cfg.model).items():
        if len(classes) != number + num_stuff:
            stuff = f", and of stuff {num_stuff}" if num_stuff else ""
            raise ConfigError(
                f"{name} is {number}{stuff}, but there are names of {len(classes)} "
                f"classes: {first_few(classes, 10)}"
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


def _loader_of_images(cfg: Config) -> dict:
    """A loader of one data set, as mmdet's inferencer wants it."""
    loader = cfg.get("test_dataloader") or cfg.get("val_dataloader")
    if loader is None:
        raise ConfigError(
            "the config has neither test_dataloader nor val_dataloader, whose pipeline "
            "would say how images are read"
        )
    return {**loader, "dataset": next(innermost_datasets(loader.dataset))}
