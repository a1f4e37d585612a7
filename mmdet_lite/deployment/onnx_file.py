"""Export to ONNX, with standard operators only."""

import warnings
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import torch

from ..errors import ConfigError
from .description import Description
from .module import DetectorModule

INPUT, OUTPUTS = "image", ("boxes", "scores", "labels")


def export_onnx(
    module: DetectorModule,
    path: Path,
    trace_shape: tuple[int, int],
    description: Description,
    opset: int = 16,
) -> None:
    """Write a detector as an ONNX file and check it by ``onnx.checker``.

    Args:
        module: the detector.
        path: file to write.
        trace_shape: (height, width) of the image to trace with; it is the only one
            that the file takes if ``description.shape`` says so. Otherwise height,
            width and batch are open.
        description: goes into the file's metadata.
        opset: version of ONNX's operators, 16 or newer: older ones lack GridSample.

    Raises:
        ConfigError: the package ``onnx`` is missing, or the opset is too old.
    """
    if find_spec("onnx") is None:
        raise ConfigError("the export to ONNX needs onnx: pip install onnx")
    import onnx

    if opset < 16:
        raise ConfigError(f"--opset must be 16 or newer for GridSample, but is {opset}")
    axes = {
        name: {0: "batch", **({2: "height", 3: "width"} if name == INPUT else {})}
        for name in (INPUT, *OUTPUTS)
    }
    with ExitStack() as stack:
        # Of the exporter's own age, and of shape checks that hold while tracing.
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        torch.onnx.export(
            module,
            (torch.zeros(1, 3, *trace_shape, dtype=torch.uint8),),
            str(path),
            dynamo=False,
            opset_version=opset,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_axes=axes if description.shape is None else None,
        )
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, description.metadata())
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
