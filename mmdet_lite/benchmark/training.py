"""Measure training steps."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from mmdet.utils import ConfigType
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.model.efficient_conv_bn_eval import turn_on_efficient_conv_bn_eval
from mmengine.optim import build_optim_wrapper

from ..engine import fold_fixed_norms
from .kept import kept_by_part
from .peak_memory import peak_memories
from .products import products_of
from .subjects import build_model, random_batch
from .timing import Run, run_as, time_interleaved

# Ground truth of each image.
_NUM_OBJECTS = 14


def measure_training(
    cfg: Config,
    image_shape: tuple[int, int],
    batch: int,
    device: torch.device,
    repeats: int,
    stock_type: str | None = None,
) -> list[dict[str, Any]]:
    """Time a training iteration on the reference operator and on the best one.

    An iteration is forward, backward and the optimizer's step on random images. On the
    best operator the model trains as ``tools/train.py`` has it, on the reference one
    as mmengine by itself does.

    Args:
        cfg: a whole config of a detector.
        image_shape: (height, width).
        batch: images of an iteration.
        device: where to run.
        repeats: counted runs.
        stock_type: ``model.type`` that turns the config into mmdet's own model, which
            then runs too, as mmdet runs it.

    Returns:
        list: a row for each: time, the time of its products alone
        (:mod:`~mmdet_lite.benchmark.products`) and their multiply-accumulates,
        ``peak_memory`` in bytes, and ``kept``, the bytes that it keeps for the backward
        pass by part of the model (:mod:`~mmdet_lite.benchmark.kept`).
    """
    model_type = cfg.model.type
    cases = [
        (f"{model_type}, reference operator", model_type, "reference"),
        (f"{model_type}, auto operator", model_type, "auto"),
    ]
    if stock_type is not None:
        cases.insert(0, (f"{stock_type} of mmdet", stock_type, "reference"))
    sizes = (image_shape, batch, device)
    builders = {
        name: partial(_prepare_training, cfg, case_type, backend, *sizes)
        for name, case_type, backend in cases
    }
    prepared = {name: build() for name, build in builders.items()}
    subjects = {name: step for name, (_, step) in prepared.items()}
    products, multiplies = {}, {}
    for name, subject in subjects.items():
        products[f"{name}, products"], multiplies[name] = products_of(subject)
    times = time_interleaved({**subjects, **products}, repeats, device)
    memories = peak_memories(
        [partial(_build_step, build) for build in builders.values()], device
    )
    return [
        {
            "subject": f"training iteration, {name}",
            "image_shape": list(image_shape),
            "batch": batch,
            "dtype": "float32",
            "time": times[name],
            "product_time": times[f"{name}, products"],
            "product_macs": multiplies[name],
            "peak_memory": memory,
            "kept": kept_by_part(model, step),
        }
        for (name, (model, step)), memory in zip(
            prepared.items(), memories, strict=True
        )
    ]


def _build_step(build: Callable[[], tuple[BaseModel, Run]]) -> Run:
    return build()[1]


def _prepare_training(
    cfg: Config,
    model_type: str,
    backend: str,
    image_shape: tuple[int, int],
    batch: int,
    device: torch.device,
) -> tuple[BaseModel, Run]:
    cfg = deepcopy(cfg)
    cfg.model.type = model_type
    model = build_model(cfg, device).train()
    for module in model.modules():
        if hasattr(module, "backend"):
            module.backend = backend
    if backend == "auto":
        fold_fixed_norms(cfg)
        turn_on_efficient_conv_bn_eval(model, cfg.get("efficient_conv_bn_eval") or [])
    step = _training_step(
        model,
        cfg.optim_wrapper,
        cfg.model.bbox_head.num_classes,
        image_shape,
        batch,
    )
    return model, partial(run_as, step, backend == "auto", False, device.type)


def _training_step(
    model: BaseModel,
    optim_wrapper: ConfigType,
    num_classes: int,
    image_shape: tuple[int, int],
    batch: int,
) -> Callable[[], None]:
    data = random_batch(
        model, image_shape, batch, True, num_classes=num_classes, items=_NUM_OBJECTS
    )
    wrapper = build_optim_wrapper(model, deepcopy(optim_wrapper))

    def step() -> None:
        loss, _ = model.parse_losses(model(**data, mode="loss"))
        wrapper.update_params(loss)

    return step
