"""Build a detector to look at, of a checkpoint or as it starts."""

from collections.abc import Callable
from copy import deepcopy

from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.utils import ConfigType
from mmengine.model import revert_sync_batchnorm
from mmengine.runner import set_random_seed

from ..checkpoint.files import read_mmengine
from ..checkpoint.fit import load_whole
from ..model_config import without_pretrained_weights


def build_detector(
    model_cfg: ConfigType,
    checkpoint: str | None,
    seed: int,
    check: Callable[[BaseDetector], object] = lambda detector: None,
) -> BaseDetector:
    """Seed the process, build a detector and give it its weights.

    mmdet's modules must be registered.

    Args:
        model_cfg: config of the detector; it is not changed.
        checkpoint: weights to load, for which no pretrained ones are fetched; None for
            those of the initialisation.
        seed: of the initialisation, and of what is random later.
        check: called with the detector before it has weights, to refuse it.

    Raises:
        ConfigError: the checkpoint cannot be read or does not fit.
    """
    set_random_seed(seed)
    if checkpoint is None:
        model_cfg = deepcopy(model_cfg)  # Detectors change what they are built of.
    else:
        model_cfg = without_pretrained_weights(model_cfg)
    detector = revert_sync_batchnorm(MODELS.build(model_cfg))
    check(detector)
    if checkpoint is None:
        detector.init_weights()
    else:
        load_whole(detector, read_mmengine(checkpoint), checkpoint)
    return detector
