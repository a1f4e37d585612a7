"""Measure stock and Lite models, whole or their encoders alone, and training steps."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmdet.utils import ConfigType
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from torch import Tensor

from ..cli import read_config
from ..flops.counter import without_pretrained_weights
from ..ops.accelerate import mmcv_operator
from ..runtime import optimize_for_inference
from .matmul import matmuls_of
from .timing import Run, peak_memory, time_interleaved

DINO = "mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py"


@dataclass(frozen=True)
class Subject:
    """What is timed.

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


def measure_models(
    names: list[str],
    part: str,
    image_shape: tuple[int, int],
    device: torch.device,
    repeats: int,
    bfloat16: Sequence[str] = (),
    batch: int = 1,
    optimized: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Time inference of whole models or of their encoders.

    Args:
        names: of :data:`SUBJECTS`, or configs: paths, or ``mmdet::PATH``.
        part: ``'model'``, from image to detections, or ``'encoder'``.
        image_shape: (height, width).
        device: where to run.
        repeats: counted runs.
        bfloat16: those of the names that also run under autocast to bfloat16.
        batch: images.
        optimized: those of the names that also run as
            :func:`~mmdet_lite.runtime.optimize_for_inference` makes them; of
            ``bfloat16`` too where it names them.

    Returns:
        list: a row for each name, and for each of ``bfloat16`` and ``optimized``
        another: ``subject``, with ", optimized" where it is; ``config`` and
        the ``options`` that change it, time, the time of its matrix multiplications
        alone (convolutions are not counted among them), their multiply-accumulates,
        and ``peak_memory`` in bytes. Encoders have ``difference`` too: root mean square
        of how far their tokens are from those of float32, as a part of these.

    Raises:
        ConfigError: there is no such subject.
    """
    fast_names = {f"{name}, optimized": name for name in optimized}
    cases = [(name, False) for name in (*names, *fast_names)]
    cases += [(name, True) for name in bfloat16]
    cases += [(key, True) for key, name in fast_names.items() if name in bfloat16]
    models: dict[str, Run] = {}
    subjects: dict[str, Run] = {}
    matmuls: dict[str, Run] = {}
    multiplies = {}
    chosen: dict[str, Subject] = {}
    fast: dict[str, bool] = {}
    labels: dict[str, str] = {}
    for name in dict.fromkeys([*names, *bfloat16, *fast_names]):
        given = fast_names.get(name, name)
        label = given if given in SUBJECTS else Path(given).stem
        labels[name] = label + name.removeprefix(given)
        chosen[name] = SUBJECTS.get(given, Subject(config=given))
        cfg = read_config(chosen[name].config, chosen[name].options)
        is_fast = chosen[name].fast
        fast[name] = _is_accelerated(cfg) if is_fast is None else is_fast
        model = _build(cfg, device).eval()
        if name in fast_names:
            model = optimize_for_inference(model)
            fast[name] = True
        models[name] = _inference(model, part, image_shape, batch)
    for name, half in cases:
        subject = f"{name}, {_dtype_name(half)}"
        subjects[subject] = partial(
            _run_as, models[name], fast[name], half, device.type
        )
        if part == "encoder":
            run, multiplies[subject] = matmuls_of(subjects[subject])
            matmuls[f"{subject}, matmul"] = run
    times = time_interleaved({**subjects, **matmuls}, repeats, device)
    exact = {
        name: _run_as(models[name], fast[name], False, device.type)
        for name in (models if part == "encoder" else ())
    }
    rows = []
    for (name, half), subject in zip(cases, subjects, strict=True):
        rows.append(
            {
                "subject": labels[name],
                "config": chosen[name].config,
                "options": chosen[name].options,
                "part": part,
                "image_shape": list(image_shape),
                "batch": batch,
                "dtype": _dtype_name(half),
                "time": times[subject],
                "matmul_time": times.get(f"{subject}, matmul"),
                "matmul_macs": multiplies.get(subject),
                "difference": _difference(subjects[subject](), exact[name])
                if exact
                else None,
                "peak_memory": peak_memory(subjects[subject], device),
            }
        )
    return rows


def _is_accelerated(cfg: Config) -> bool:
    imports = cfg.get("custom_imports", {}).get("imports", [])
    return "mmdet_lite.accelerate" in imports


def _difference(output: dict[str, Tensor], exact: dict[str, Tensor]) -> float:
    memory, reference = output["memory"].float(), exact["memory"].float()
    return (
        (memory - reference).square().mean() / reference.square().mean()
    ).item() ** 0.5


def _dtype_name(bfloat16: bool) -> str:
    return "bfloat16 autocast" if bfloat16 else "float32"


def measure_training(
    cfg: Config,
    image_shape: tuple[int, int],
    batch: int,
    device: torch.device,
    repeats: int,
    stock_type: str | None = None,
    num_objects: int = 14,
) -> list[dict[str, Any]]:
    """Time a training iteration on the reference operator and on the best one.

    An iteration is forward, backward and the optimizer's step on random images.

    Args:
        cfg: a whole config of a detector.
        image_shape: (height, width).
        batch: images of an iteration.
        device: where to run.
        repeats: counted runs.
        stock_type: ``model.type`` that turns the config into mmdet's own model, which
            then runs too, as mmdet runs it.
        num_objects: ground truth of each image.

    Returns:
        list: a row for each: time and ``peak_memory`` in bytes.
    """
    model_type = cfg.model.type
    cases = [
        (f"{model_type}, reference operator", model_type, "reference"),
        (f"{model_type}, auto operator", model_type, "auto"),
    ]
    if stock_type is not None:
        cases.insert(0, (f"{stock_type} of mmdet", stock_type, "reference"))
    subjects = {}
    for name, case_type, backend in cases:
        case_cfg = deepcopy(cfg)
        case_cfg.model.type = case_type
        model = _build(case_cfg, device).train()
        for module in model.modules():
            if hasattr(module, "backend"):
                module.backend = backend
        step = _training_step(
            model,
            cfg.optim_wrapper,
            cfg.model.bbox_head.num_classes,
            image_shape,
            batch,
            num_objects,
        )
        subjects[name] = partial(_run_as, step, backend == "auto", False, device.type)
    times = time_interleaved(subjects, repeats, device)
    return [
        {
            "subject": f"training iteration, {name}",
            "image_shape": list(image_shape),
            "batch": batch,
            "dtype": "float32",
            "time": times[name],
            "peak_memory": peak_memory(subject, device),
        }
        for name, subject in subjects.items()
    ]


def _build(cfg: Config, device: torch.device) -> BaseModel:
    # Time does not depend on weights; downloading them would.
    model = MODELS.build(without_pretrained_weights(cfg.model))
    model.init_weights()
    return model.to(device)


def _inference(
    model: BaseModel, part: str, image_shape: tuple[int, int], batch: int
) -> Callable[[], object]:
    data = _random_batch(model, image_shape, batch, training=False)
    if part == "model":
        return torch.no_grad()(lambda: model(**data, mode="predict"))
    with torch.no_grad():
        features = model.extract_feat(data["inputs"])
        encoder_inputs, _ = model.pre_transformer(features, data["data_samples"])
    return torch.no_grad()(lambda: model.forward_encoder(**encoder_inputs))


def _training_step(
    model: BaseModel,
    optim_wrapper: ConfigType,
    num_classes: int,
    image_shape: tuple[int, int],
    batch: int,
    num_objects: int,
) -> Callable[[], None]:
    data = _random_batch(
        model, image_shape, batch, True, num_classes=num_classes, items=num_objects
    )
    wrapper = build_optim_wrapper(model, deepcopy(optim_wrapper))

    def step() -> None:
        loss, _ = model.parse_losses(model(**data, mode="loss"))
        wrapper.update_params(loss)

    return step


def _random_batch(
    model: BaseModel,
    image_shape: tuple[int, int],
    batch: int,
    training: bool,
    num_classes: int = 80,
    items: int = 1,
) -> dict[str, Any]:
    state = np.random.get_state()
    data = demo_mm_inputs(
        batch,
        [[3, *image_shape]] * batch,
        num_items=[items] * batch,
        num_classes=num_classes,
    )
    np.random.set_state(state)
    return model.data_preprocessor(data, training)


def _run_as(
    run: Callable[[], Any], fast: bool, bfloat16: bool, device_type: str
) -> Any:
    with ExitStack() as stack:
        stack.enter_context(mmcv_operator(fast))
        stack.enter_context(
            torch.autocast(device_type, torch.bfloat16) if bfloat16 else nullcontext()
        )
        return run()
