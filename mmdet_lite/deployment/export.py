"""Write a detector as one file of either format."""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import BaseModel

from ..errors import ConfigError
from .description import Description
from .module import DetectorModule, build_module
from .onnx_file import export_onnx
from .torch_package import export_torch

FORMATS = {"onnx": ".onnx", "torch": ".pt2"}
"""How the files end, by format."""

_LEAST_SIDE = 32


def export_detector(
    cfg: Config,
    weights: str | Path,
    path: str | Path,
    file_format: str,
    shape: tuple[int, int] | None = None,
    batch: int | None = None,
    opset: int = 16,
) -> tuple[DetectorModule, Description]:
    """Build a detector, load its weights, every one of them, and write its file.

    Args:
        cfg: a whole config.
        weights: a checkpoint of mmengine.
        path: file to write, ``.onnx`` or ``.pt2``.
        file_format: ``'onnx'`` or ``'torch'``.
        shape: (height, width) of the images that the file takes; None for any.
        batch: how many images it takes at once; None for any number of images of any
            size, and for one image of a fixed size.
        opset: version of ONNX's operators, 16 or newer.

    Returns:
        tuple: the module that was written, and what the file says of itself.

    Raises:
        ConfigError: a size or a name that does not fit; the config's own images have
            fewer tokens than there are queries, which only a file of a fixed shape can
            serve; or as
            :func:`~.module.build_module`, :func:`~.onnx_file.export_onnx` and
            :func:`~.torch_package.export_torch`.
    """
    if shape is not None and min(shape) < _LEAST_SIDE:
        raise ConfigError(
            f"a fixed shape must be at least {_LEAST_SIDE} pixels high and wide, but "
            f"is {shape}"
        )
    path, suffix = Path(path), FORMATS[file_format]
    if path.suffix != suffix:
        raise ConfigError(
            f"a file of format {file_format} must end in {suffix}, but is {path}"
        )
    module, description = build_module(cfg, weights, shape, batch)
    if shape is None:
        _require_tokens(module.model, description.trace_shape)
    if file_format == "onnx":
        export_onnx(module, path, description.trace_shape, description, opset)
    else:
        export_torch(module, path, description.trace_shape, description)
    return module, description


@torch.no_grad()
def _require_tokens(model: BaseModel, trace_shape: tuple[int, int]) -> None:
    """Refuse to trace what a detector does of fewer tokens than queries.

    All tokens make queries then, and that of one image would become that of all.
    """
    if not getattr(model, "as_two_stage", False):
        return
    maps = model.extract_feat(torch.zeros(1, 3, *trace_shape))
    levels = getattr(model, "num_proposal_levels", None) or len(maps)
    tokens = sum(map_.shape[2] * map_.shape[3] for map_ in maps[-levels:])
    if tokens < model.num_queries:
        size = "×".join(map(str, trace_shape))
        raise ConfigError(
            f"images of {size}, as the config tests them, have {tokens} tokens to "
            f"propose objects, fewer than its {model.num_queries} queries: export for "
            "one size (--shape H W), or set a larger Resize in the test pipeline"
        )
