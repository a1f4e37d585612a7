"""Build a detector with trained weights that fit it in every name and shape."""

from copy import deepcopy
from pathlib import Path

from mmdet.evaluation import get_classes
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm

from ..errors import ConfigError
from .files import read_mmengine


def load_detector(
    cfg: Config, weights: str | Path, device: str = "cpu"
) -> BaseDetector:
    """Build a config's detector for inference, with a checkpoint's weights.

    As mmdet's ``init_detector``, which only warns of weights that do not fit and leaves
    layers random.

    Args:
        cfg: a whole config.
        weights: path or URL of a checkpoint of mmengine.
        device: as PyTorch names it.

    Returns:
        BaseDetector: in evaluation mode, with ``cfg`` and ``dataset_meta``.

    Raises:
        ConfigError: there is no such checkpoint, the config has no model, or the names
            or shapes of the checkpoint are not the model's.
    """
    checkpoint = read_mmengine(weights)
    if cfg.get("model") is None:
        raise ConfigError("the config has no model")
    # Building alone fetches no pretrained weights, init_weights would; it changes its
    # config.
    model = revert_sync_batchnorm(MODELS.build(deepcopy(cfg.model)))
    state_dict = {
        name.removeprefix("module."): tensor
        for name, tensor in checkpoint["state_dict"].items()
    }
    misfit = f"the weights of {weights} do not fit {type(model).__name__} as configured"
    try:
        missing, unexpected = model.load_state_dict(state_dict, strict=False)
    except RuntimeError as error:  # Shapes, one a line below the first.
        _, first, *more = map(str.strip, str(error).splitlines())
        dots = f" (and {len(more)} more)" if more else ""
        raise ConfigError(f"{misfit}: {first}{dots}") from error
    for what, names in (("lack", missing), ("have besides", unexpected)):
        if names:
            dots = ", …" if len(names) > 3 else ""
            raise ConfigError(
                f"{misfit}: they {what} {len(names)} tensors, {', '.join(names[:3])}"
                f"{dots}"
            )
    meta = checkpoint.get("meta", {}).get("dataset_meta")
    model.dataset_meta = meta or {"classes": get_classes("coco")}
    model.cfg = cfg
    return model.to(device).eval()
