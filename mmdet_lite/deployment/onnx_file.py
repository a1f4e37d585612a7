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
        trace_shape: (height, width) of the image to trace with.
        description: goes into the file's metadata; what its ``shape`` and ``batch``
            do not say is left open.
        opset: version of ONNX's operators, 16 or newer: older ones lack GridSample.

    Raises:
        ConfigError: the package ``onnx`` is missing, or the opset is too old.
    """
    if find_spec("onnx") is None:
        raise ConfigError("the export to ONNX needs onnx: pip install onnx")
    import onnx

    if opset < 16:
        raise ConfigError(f"--opset must be 16 or newer for GridSample, but is {opset}")
    of_batch = {0: "batch"} if description.batch is None else {}
    of_size = {2: "height", 3: "width"} if description.shape is None else {}
    axes = {INPUT: of_batch | of_size, **dict.fromkeys(OUTPUTS, of_batch)}
    with ExitStack() as stack:
        # Of the exporter's own age, and of shape checks that hold while tracing.
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        torch.onnx.export(
            module,
            (torch.zeros(description.batch or 1, 3, *trace_shape, dtype=torch.uint8),),
            str(path),
            dynamo=False,
            opset_version=opset,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_axes=axes,
        )
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, description.metadata())
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
