"""What is timed: stock and Lite models, others' models, exported files."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import nn

from ..config_file import read_config
from ..deployment.cuda_graph import CUDAGraphDetector
from ..deployment.module import DetectorModule
from ..deployment.runtime import load_detector, runtimes_of
from ..errors import ConfigError
from ..model_config import without_pretrained_weights
from ..runtime import optimize_for_inference, predict_in_float32
from .rt_detr import PACKAGE, RT_DETR, RTDetr
from .timing import Run

OPTIMIZED = "optimized"
COMPILED = "compiled"
GRAPHED = "optimized, CUDA graph"

DINO = "mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py"


@dataclass(frozen=True)
class Subject:
    """A model by its config.

    Attributes:
        config: path, or ``mmdet::PATH``.
        options: what changes the config.
        fast: whether mmcv's own attention runs on this package's plain operator; None
            for what the config says.
    """

    config: str
    options: dict[str, Any] = field(default_factory=dict)
    fast: bool | None = None


def _lite_dino(**encoder: int) -> Subject:
    options = {f"model.encoder.{name}": value for name, value in encoder.items()}
    return Subject(DINO, {"model.type": "LiteDINO", **options}, fast=True)


SUBJECTS = {
    "dino-stock": Subject(DINO, fast=False),
    "dino": Subject(DINO, fast=True),
    "lite-dino_h3l1-2p1x3": _lite_dino(),
    "lite-dino_h3l1-6p1x1": _lite_dino(num_high_updates=6, num_blocks=1),
    "lite-dino_h2l2-2p1x3": _lite_dino(num_high_levels=2),
}
"""DINO as mmdet runs it, DINO on the fast plain operator, and the Lite variants."""


@dataclass(frozen=True)
class Runnable:
    """A subject that is built.

    Attributes:
        subject: what tables call it.
        config: path, ``mmdet::PATH`` or the exported file; of another package's model
            its name.
        options: what changes the config.
        run: an inference, without gradients.
        fast: whether mmcv's own attention has to run on this package's plain operator.
        package: that runs it beside PyTorch, if one does.
        bfloat16: whether it is to run under autocast to it.
        tells_products: whether its products can be seen one by one.
    """

    subject: str
    config: str
    options: dict[str, Any]
    run: Run
    fast: bool
    package: str | None = None
    bfloat16: bool = False
    tells_products: bool = True


def prepare_model(
    name: str,
    part: str,
    image_shape: tuple[int, int],
    batch: int,
    device: torch.device,
    change: str | None = None,
    bfloat16: bool = False,
) -> Runnable:
    """Build a model with random weights and random images.

    Args:
        name: of :data:`SUBJECTS`, :data:`~mmdet_lite.benchmark.rt_detr.RT_DETR`, or a
            config: path, or ``mmdet::PATH``.
        part: ``'model'``, from normalised image to detections, or ``'encoder'``.
        image_shape: (height, width).
        batch: images.
        device: where to run.
        change: ``'optimized'`` by :func:`~mmdet_lite.runtime.optimize_for_inference`,
            ``'compiled'`` by ``torch.compile``, on a GPU with CUDA graphs,
            ``'optimized, CUDA graph'`` by both that function and
            :class:`~mmdet_lite.deployment.cuda_graph.CUDAGraphDetector`, or None.
        bfloat16: whether it is to run under autocast to it, as the tools' ``--amp``
            does: boxes and scores stay float32.

    Raises:
        ConfigError: there is no such subject, or it has no such part or change.
    """
    if change in (COMPILED, GRAPHED) and part != "model":
        raise ConfigError(
            "--compile and --graph are for whole models: take benchmark.py model"
        )
    ending = f", {change}" if change else ""
    if name == RT_DETR:
        runnable = _prepare_rt_detr(part, image_shape, batch, device, change, ending)
        return replace(runnable, bfloat16=bfloat16)
    subject = SUBJECTS.get(name, Subject(config=name))
    cfg = read_config(subject.config, subject.options)
    model = build_model(cfg, device).eval()
    if change in (OPTIMIZED, GRAPHED):
        model = optimize_for_inference(model)
    if bfloat16:
        predict_in_float32(model)
    run = (
        _inference_of_module(model, image_shape, batch, change, bfloat16)
        if change in (COMPILED, GRAPHED)
        else _inference(model, part, image_shape, batch)
    )
    label = name if name in SUBJECTS else Path(name).stem
    is_fast = _is_accelerated(cfg) if subject.fast is None else subject.fast
    return Runnable(
        label + ending,
        subject.config,
        subject.options,
        run,
        is_fast or change in (OPTIMIZED, GRAPHED),
        bfloat16=bfloat16,
        tells_products=change not in (COMPILED, GRAPHED),
    )


def prepare_exported(
    file: str, runtime: str | None, image_shape: tuple[int, int], batch: int
) -> Runnable:
    """Load an exported file, with as many threads as PyTorch, and a random image.

    Args:
        file: path of the file.
        runtime: of :data:`~mmdet_lite.deployment.runtime.RUNTIMES`; None for the
            file's first.
        image_shape: (height, width).
        batch: images.

    Raises:
        DeploymentError: the file cannot be loaded, or takes no such images.
    """
    detector = load_detector(file, runtime, torch.get_num_threads())
    images = torch.randint(256, (batch, 3, *image_shape), dtype=torch.uint8).numpy()
    detector(images)  # What it does not take is said before the others run.
    runtime = runtime or runtimes_of(file)[0]
    return Runnable(
        f"{Path(file).name} in {runtime}",
        file,
        {},
        lambda: detector(images),
        False,
        None if runtime == "torch" else runtime,
        tells_products=False,
    )


def build_model(cfg: Config, device: torch.device) -> BaseModel:
    """Build the model of a config with new weights."""
    # Time does not depend on weights; downloading them would.
    model = MODELS.build(without_pretrained_weights(cfg.model))
    model.init_weights()
    return model.to(device)


def random_batch(
    model: BaseModel,
    image_shape: tuple[int, int],
    batch: int,
    training: bool,
    num_classes: int = 80,
    items: int = 1,
) -> dict[str, Any]:
    """Random images and objects, as they leave the model's data preprocessor."""
    state = np.random.get_state()
    data = demo_mm_inputs(
        batch,
        [[3, *image_shape]] * batch,
        num_items=[items] * batch,
        num_classes=num_classes,
    )
    np.random.set_state(state)
    return model.data_preprocessor(data, training)


def _prepare_rt_detr(
    part: str,
    image_shape: tuple[int, int],
    batch: int,
    device: torch.device,
    change: str | None,
    ending: str,
) -> Runnable:
    if part != "model":
        raise ConfigError(f"{RT_DETR} is timed whole: take benchmark.py model")
    if change in (OPTIMIZED, GRAPHED):
        raise ConfigError(
            f"--optimize and --graph are for detectors of mmdet, not for {RT_DETR}"
        )
    model = RTDetr().to(device).eval()
    model.require_shape(image_shape)
    infer = _compile(model, device) if change == COMPILED else model
    pixels = torch.randn(batch, 3, *image_shape, device=device)
    run = torch.no_grad()(lambda: infer(pixels))
    return Runnable(
        RT_DETR + ending,
        RT_DETR,
        {},
        run,
        False,
        PACKAGE,
        tells_products=change != COMPILED,
    )


def _inference(
    model: BaseModel, part: str, image_shape: tuple[int, int], batch: int
) -> Callable[[], object]:
    data = random_batch(model, image_shape, batch, training=False)
    if part == "model":
        return torch.no_grad()(lambda: model(**data, mode="predict"))
    with torch.no_grad():
        features = model.extract_feat(data["inputs"])
        encoder_inputs, _ = model.pre_transformer(features, data["data_samples"])
    return torch.no_grad()(lambda: model.forward_encoder(**encoder_inputs))


def _inference_of_module(
    model: BaseModel,
    image_shape: tuple[int, int],
    batch: int,
    change: str,
    bfloat16: bool,
) -> Callable[[], object]:
    device = next(model.parameters()).device
    module = DetectorModule(model).to(device)
    detector = (
        _compile(module, device)
        if change == COMPILED
        else CUDAGraphDetector(module, torch.bfloat16 if bfloat16 else None)
    )
    images = torch.randint(
        256, (batch, 3, *image_shape), dtype=torch.uint8, device=device
    )
    return torch.no_grad()(lambda: detector(images))


def _compile(module: nn.Module, device: torch.device) -> Callable[..., Any]:
    # There it launches kernels by CUDA graphs.
    mode = "reduce-overhead" if device.type == "cuda" else None
    return torch.compile(module, mode=mode)


def _is_accelerated(cfg: Config) -> bool:
    imports = cfg.get("custom_imports", {}).get("imports", [])
    return "mmdet_lite.accelerate" in imports
