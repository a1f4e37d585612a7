"""From which maps a two-stage DETR takes its queries, and how many of an object."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmdet.models.dense_heads import DINOHead
from mmdet.models.detectors import DDQDETR, BaseDetector
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy, bbox_overlaps
from mmengine.config import Config
from mmengine.runner import Runner
from torch import Tensor

from ..config_file import require_test_set
from ..errors import ConfigError
from .detector import build_detector

IOU_ON_OBJECT = 0.5
"""From this IoU on a proposal is one of an object."""
# Settings of a data loader that only one with workers takes.
_OF_WORKERS = (
    *("num_workers", "persistent_workers", "prefetch_factor", "timeout"),
    "multiprocessing_context",
)


def count_proposals(
    cfg: Config, checkpoint: str | None = None, seed: int = 0
) -> dict[str, Any]:
    """Look at the proposals that a detector makes its queries of.

    mmdet's modules must be registered. A proposal belongs to the object that it
    overlaps most, from an IoU of :data:`IOU_ON_OBJECT`, whatever its class.

    Args:
        cfg: a whole config of a two-stage DETR, whose test set has annotations.
        checkpoint: its weights; None for those of the initialisation.
        seed: of the initialisation.

    Returns:
        dict: ``queries``, the share of all queries that tokens of each level made,
        largest map first; ``levels``, the same of those on objects, zeros where there
        are none; ``per_object``, how many an object has; ``without``, the share of
        objects that have none; ``objects``, how many there are, and ``images``.

    Raises:
        ConfigError: the detector makes no proposals or chooses distinct ones, there is
            no test set, it has no objects, or the checkpoint does not fit.
    """
    require_test_set(cfg, ["test_dataloader"])
    model = build_detector(cfg.model, checkpoint, seed, _require_best_proposals).eval()
    loader_cfg = {
        name: value
        for name, value in cfg.test_dataloader.items()
        if name not in _OF_WORKERS
    }
    loader = Runner.build_dataloader({**loader_cfg, "num_workers": 0})
    objects_of = _objects_by_image(loader.dataset)
    num_levels = model.num_feature_levels
    of_all, on_objects = torch.zeros(2, num_levels, dtype=torch.int64)
    counts = [torch.zeros(0, dtype=torch.int64)]
    for data in loader:
        data = model.data_preprocessor(data, training=False)
        samples = data["data_samples"]
        with _proposals_of(model) as made, torch.no_grad():
            model.predict(data["inputs"], samples)
        for boxes, levels, sample in zip(
            made["boxes"], made["levels"], samples, strict=True
        ):
            of_all += levels.bincount(minlength=num_levels)
            objects = objects_of[sample.img_id]
            if not len(objects):
                continue
            overlap, owner = bbox_overlaps(boxes, objects).max(1)
            on_object = overlap >= IOU_ON_OBJECT
            on_objects += levels[on_object].bincount(minlength=num_levels)
            counts.append(owner[on_object].bincount(minlength=len(objects)))
    numbers = torch.cat(counts)
    if not len(numbers):
        raise ConfigError(
            "the test set has no objects whose proposals could be counted"
        )
    return {
        "queries": (of_all / of_all.sum()).tolist(),
        "levels": (on_objects / on_objects.sum().clamp(min=1)).tolist(),
        "per_object": float(numbers.float().mean()),
        "without": float((numbers == 0).float().mean()),
        "objects": len(numbers),
        "images": len(loader.dataset),
    }


def _require_best_proposals(model: BaseDetector) -> None:
    """Refuse a detector whose queries are not its best proposals."""
    if not getattr(model, "as_two_stage", False):
        raise ConfigError(f"{type(model).__name__} here makes no proposals to count")
    if isinstance(model, DDQDETR):
        raise ConfigError(
            f"{type(model).__name__} does not choose the proposals that score best, "
            "which are what is counted, but distinct ones"
        )


@contextmanager
def _proposals_of(model: BaseDetector) -> Iterator[dict[str, Any]]:
    """Keep boxes (x1, y1, x2, y2) in 0–1 and levels of what makes the next queries."""
    made: dict[str, Any] = {}
    head = model.bbox_head
    pre_decoder = model.pre_decoder
    one_class = not isinstance(head, DINOHead)

    def keep_scores(module: Any, args: tuple, logits: Tensor) -> None:
        # Two-stage Deformable DETR scores with the first class alone.
        made["scores"] = logits[..., 0] if one_class else logits.max(-1)[0]

    def keep(*args, **kwargs) -> tuple[dict, dict]:
        decoder_inputs, head_inputs = pre_decoder(*args, **kwargs)
        references = decoder_inputs["reference_points"]
        made["boxes"] = bbox_cxcywh_to_xyxy(references)
        sizes = torch.as_tensor(kwargs["spatial_shapes"]).prod(-1)
        # Where only the last levels propose, the first proposal is not the first token.
        passed_over = sizes.sum() - made["scores"].shape[1]
        chosen = made["scores"].topk(references.shape[1], dim=1)[1]
        made["levels"] = torch.bucketize(
            chosen + passed_over, sizes.cumsum(0), right=True
        )
        return decoder_inputs, head_inputs

    handle = head.cls_branches[model.decoder.num_layers].register_forward_hook(
        keep_scores
    )
    model.pre_decoder = keep
    try:
        yield made
    finally:
        handle.remove()
        del model.pre_decoder


def _objects_by_image(dataset: Any) -> dict[Any, Tensor]:
    """Boxes (num, 4) of the objects of each image, (x1, y1, x2, y2) in 0–1."""
    objects = {}
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        boxes = [
            instance["bbox"]
            for instance in info["instances"]
            if not instance["ignore_flag"]
        ]
        sides = torch.tensor([info["width"], info["height"]] * 2)
        objects[info["img_id"]] = torch.tensor(boxes).reshape(-1, 4) / sides
    return objects
