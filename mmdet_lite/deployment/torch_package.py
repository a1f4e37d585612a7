"""Export to a package of PyTorch: compiled, with the fused C++ operators inside."""

import shutil
from contextlib import ExitStack
from pathlib import Path

import torch
from torch._dynamo.exc import Unsupported

from ..errors import ConfigError
from ..messages import first_line
from ..ops.dispatch import BackendUnavailableError, force_backend, select_backend
from .description import Description
from .module import DetectorModule, require_lite
from .runtime import operators_beside

# A graph that is captured for one image, or for a level of one cell, is for that only.
_TRACE_BATCH = 2


def capture(
    module: DetectorModule, trace_shape: tuple[int, int], description: Description
) -> torch.export.ExportedProgram:
    """Capture a detector as one graph, on the C++ kernels.

    Args:
        module: the detector, of a Lite type.
        trace_shape: (height, width) of the image to capture with.
        description: what its ``shape`` and ``batch`` do not say is left open.

    Raises:
        ConfigError: the detector is no Lite one, the C++ kernels are missing, or this
            PyTorch cannot follow the detector.
    """
    require_lite(module.model, "torch.export", ", or --format onnx")
    try:
        cpp = select_backend("cpp", torch.device("cpu"), torch.float32)
    except BackendUnavailableError as error:
        raise ConfigError(f"--format torch: {error}") from error
    dim = torch.export.Dim.DYNAMIC
    batch = description.batch or _TRACE_BATCH
    sizes = {2: dim, 3: dim} if description.shape is None else {}
    if description.batch is None:
        sizes[0] = dim
    with ExitStack() as stack:
        stack.enter_context(force_backend(cpp))
        stack.enter_context(torch.no_grad())
        try:
            return torch.export.export(
                module,
                (torch.zeros(batch, 3, *trace_shape, dtype=torch.uint8),),
                dynamic_shapes=(sizes,),
                strict=True,
            )
        except Unsupported as error:
            raise ConfigError(
                f"PyTorch {torch.__version__} cannot capture the detector as one "
                f"graph: {first_line(error)}; take that of requirements/tested.txt, or "
                "--format onnx"
            ) from error


def export_torch(
    module: DetectorModule,
    path: Path,
    trace_shape: tuple[int, int],
    description: Description,
) -> None:
    """Write a detector as a compiled package, its operators' library beside it.

    The code is for the processor's instruction set and PyTorch's version of this
    machine.

    Args:
        module: the detector, of a Lite type.
        path: file to write, ending in ``.pt2``.
        trace_shape: as :func:`~mmdet_lite.deployment.onnx_file.export_onnx`.
        description: goes into the file's metadata.

    Raises:
        ConfigError: as :func:`capture`.
    """
    program = capture(module, trace_shape, description)
    torch._inductor.aoti_compile_and_package(
        program,
        package_path=str(path),
        inductor_configs={"aot_inductor.metadata": description.metadata()},
    )
    shutil.copyfile(_library(), operators_beside(path))


def _library() -> Path:
    """The C++ kernels that are loaded here."""
    return next(
        Path(library)
        for library in torch.ops.loaded_libraries
        if Path(library).name.startswith("_cpu.")
    )
