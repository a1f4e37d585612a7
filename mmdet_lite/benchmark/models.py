"""Measure stock and Lite models, whole or their encoders alone, and exported files."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..deployment.runtime import runtimes_of
from .peak_memory import peak_memories
from .products import products_of
from .subjects import (
    COMPILED,
    GRAPHED,
    OPTIMIZED,
    Runnable,
    prepare_exported,
    prepare_model,
)
from .timing import Run, run_as, time_interleaved


def measure_models(
    names: Sequence[str],
    part: str,
    image_shape: tuple[int, int],
    device: torch.device,
    repeats: int,
    *,
    batch: int = 1,
    bfloat16: Sequence[str] = (),
    optimized: Sequence[str] = (),
    compiled: Sequence[str] = (),
    graphed: Sequence[str] = (),
    exported: Sequence[str] = (),
    runtimes: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Time inference of whole models or of their encoders.

    Args:
        names: of :data:`~mmdet_lite.benchmark.subjects.SUBJECTS`,
            :data:`~mmdet_lite.benchmark.rt_detr.RT_DETR`, or configs: paths, or
            ``mmdet::PATH``.
        part: ``'model'``, from normalised image to detections, or ``'encoder'``.
        image_shape: (height, width).
        device: where to run.
        repeats: counted runs.
        batch: images.
        bfloat16: those of the names that also run under autocast to bfloat16.
        optimized: those of the names that also run as
            :func:`~mmdet_lite.runtime.optimize_for_inference` makes them; of
            ``bfloat16`` too where it names them.
        compiled: those of the names that also run as ``torch.compile`` makes them.
        graphed: those of the names that also run optimized and as a CUDA graph.
        exported: files of ``tools/deployment/export.py``; they run on the processor,
            and normalise the image themselves.
        runtimes: for the files, of :data:`~mmdet_lite.deployment.runtime.RUNTIMES`;
            where none of them runs a file, its default.

    Returns:
        list: a row for each name, and for each of ``bfloat16``, ``optimized``,
        ``compiled``, ``graphed`` and each file and runtime another: ``subject``, with
        what it is changed to after a comma; ``config`` and the ``options`` that change
        it, the ``package`` that runs it if it is not PyTorch's, time, the time of its
        products alone (:mod:`~mmdet_lite.benchmark.products`) and their
        multiply-accumulates, None of what is compiled, graphed or not PyTorch's, and
        ``peak_memory`` in bytes, None of exported files.
        Encoders have ``num_tokens`` too, and ``difference``, the root mean square of
        how far their tokens are from those of float32, as a part of these.

    Raises:
        ConfigError: there is no such subject, or a package is missing.
        DeploymentError: a file cannot be loaded, or takes no such images.
    """
    changed: list[tuple[str, str | None]] = [(name, None) for name in names]
    changes = ((OPTIMIZED, optimized), (COMPILED, compiled), (GRAPHED, graphed))
    changed += [(name, change) for change, names in changes for name in names]
    half: list[tuple[str, str | None]] = [(name, None) for name in bfloat16]
    half += [each for each in changed if each[1] and each[0] in bfloat16]
    builders = [
        partial(prepare_model, name, part, image_shape, batch, device, change, is_half)
        for keys, is_half in ((changed, False), (half, True))
        for name, change in keys
    ]
    runnables = [build() for build in builders]
    # Runtimes keep what a run of a file allocated for the next one.
    files = [
        prepare_exported(file, runtime, image_shape, batch)
        for file in exported
        for runtime in _runtimes_for(file, runtimes)
    ]
    runs: dict[str, Run] = {}
    products: dict[str, Run] = {}
    multiplies = {}
    for runnable in (*runnables, *files):
        key = f"{len(runs)}"  # Two configs may have one name.
        runs[key] = _bound(runnable, runnable.bfloat16, device)
        if runnable.tells_products:
            products[f"{key}, products"], multiplies[key] = products_of(runs[key])
    times = time_interleaved({**runs, **products}, repeats, device)
    outputs = {key: run() for key, run in runs.items()} if part == "encoder" else {}
    memories = peak_memories(
        [partial(_build_run, build, device) for build in builders], device
    )
    memories += [None] * len(files)
    return [
        {
            "subject": runnable.subject,
            "config": runnable.config,
            "options": runnable.options,
            "package": runnable.package,
            "part": part,
            "image_shape": list(image_shape),
            "batch": batch,
            "dtype": "bfloat16 autocast" if runnable.bfloat16 else "float32",
            "time": times[key],
            "product_time": times.get(f"{key}, products"),
            "product_macs": multiplies.get(key),
            "num_tokens": outputs[key]["memory"].shape[1] if outputs else None,
            "difference": _difference(outputs[key], _bound(runnable, False, device)())
            if outputs
            else None,
            "peak_memory": memory,
        }
        for key, runnable, memory in zip(
            runs, (*runnables, *files), memories, strict=True
        )
    ]


def _runtimes_for(file: str, wanted: Sequence[str]) -> list[str | None]:
    fitting: list[str | None] = [n for n in wanted if n in runtimes_of(file)]
    return fitting or [None]


def _build_run(build: Callable[[], Runnable], device: torch.device) -> Run:
    runnable = build()
    return _bound(runnable, runnable.bfloat16, device)


def _bound(runnable: Runnable, bfloat16: bool, device: torch.device) -> Run:
    return partial(run_as, runnable.run, runnable.fast, bfloat16, device.type)


def _difference(output: dict[str, Tensor], exact: dict[str, Tensor]) -> float:
    memory, reference = output["memory"].float(), exact["memory"].float()
    return (
        (memory - reference).square().mean() / reference.square().mean()
    ).item() ** 0.5
