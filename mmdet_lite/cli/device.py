"""Whether the device that a training takes can run it."""

import torch
from mmcv.ops import get_compiling_cuda_version
from mmengine.config import Config
from mmengine.device import get_device

from ..config_parts import parts_of
from ..errors import ConfigError
from ..type_names import type_name


def require_operators_of_losses(cfg: Config) -> None:
    """Refuse to train with mmcv's focal loss on a GPU that mmcv was not built for.

    Args:
        cfg: a whole config.

    Raises:
        ConfigError: PyTorch sees a GPU, and mmcv has no operators for it.
    """
    if get_device() != "cuda" or get_compiling_cuda_version() != "not available":
        return
    if any(type_name(part) == "FocalLoss" for _, part in parts_of(cfg.model)):
        raise ConfigError(
            "PyTorch sees a GPU, but mmcv was built without operators for it, one of "
            f"which is FocalLoss: install the toolkit of CUDA {torch.version.cuda} "
            "(nvcc) and build mmcv anew, or train on the processor by setting "
            "CUDA_VISIBLE_DEVICES to nothing"
        )
