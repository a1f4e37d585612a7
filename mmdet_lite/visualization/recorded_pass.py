"""One image through one detector, with everything that its attentions did."""

import re
from dataclasses import dataclass

import numpy as np
import torch
from mmdet.apis import inference_detector
from mmdet.models.detectors import BaseDetector, DetectionTransformer
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmengine.structures import InstanceData
from torch import Tensor

from ..errors import ConfigError
from .attention_record import AttentionRecord, record_attention
from .image_frame import ImageFrame

_LAYER = re.compile(r"(?P<part>encoder|decoder)\.layers\.(?P<index>\d+)\.")


@dataclass(frozen=True)
class RecordedPass:
    """What a detector did with an image.

    Attributes:
        name: of the detector, its type.
        image: (height, width, 3), uint8, BGR, as it was read.
        frame: how it was resized and padded.
        records: the deformable attentions by layer, ``'encoder.3'`` or ``'decoder.0'``.
        kinds: H or F by encoder layer; empty where layers have no kinds.
        detections: ``bboxes`` (num, 4), (x1, y1, x2, y2) in pixels of ``image``,
            ``scores`` (num,), ``labels`` (num,), best first, and ``queries`` (num,),
            the decoder's query that each came from. All on the CPU.
        classes: names of the labels.
    """

    name: str
    image: np.ndarray
    frame: ImageFrame
    records: dict[str, AttentionRecord]
    kinds: str
    detections: InstanceData
    classes: tuple[str, ...]

    def record(self, layer: str) -> AttentionRecord:
        """The attention of a layer.

        Raises:
            ConfigError: there is no such layer.
        """
        if layer not in self.records:
            raise ConfigError(
                f"{self.name} has no layer {layer} of deformable attention; it has "
                f"{', '.join(self.records)}"
            )
        return self.records[layer]

    def describe(self, layer: str) -> str:
        """``'encoder layer 3 (F)'`` for ``'encoder.3'``."""
        part, index = layer.split(".")
        kind = (
            f" ({self.kinds[int(index)]})" if part == "encoder" and self.kinds else ""
        )
        return f"{part} layer {index}{kind}"

    def reference_pixels(self, layer: str) -> Tensor:
        """(num_queries, 2), (x, y) in pixels of the image, of a layer's queries."""
        record = self.record(layer)
        references = record.reference_points[0, ..., :2].unsqueeze(-2)
        pixels = self.frame.to_pixels(references, record.spatial_shapes)
        return pixels[:, 0, 0]

    def query_strides(self, layer: str) -> Tensor:
        """(num_queries,), the strides of the maps that an encoder layer's queries are.

        A layer that updates the high levels only has their tokens as queries.
        """
        record = self.record(layer)
        strides = torch.tensor(self.frame.strides(record.spatial_shapes))
        of_tokens = strides.repeat_interleave(record.spatial_shapes.prod(-1).cpu())
        return of_tokens[-record.reference_points.shape[1] :]


@torch.no_grad()
def record_pass(
    model: BaseDetector, image: np.ndarray, name: str | None = None
) -> RecordedPass:
    """Detect on an image and keep what the deformable attentions did.

    Args:
        model: a DETR of mmdet with its config (``model.cfg``), as mmdet's
            ``init_detector`` or
            :func:`~mmdet_lite.inference.load_detector` (its ``model``) give it.
        image: (height, width, 3), uint8, BGR.
        name: what to call the model; None for its type.

    Raises:
        ConfigError: the model has no deformable attention, is no DETR, or reads text.
    """
    kind = type(model).__name__
    if hasattr(model, "language_model"):
        raise ConfigError(f"{kind} reads text beside the image, which is not supported")
    outputs: list[tuple[Tensor, Tensor]] = []
    with record_attention(model) as calls:
        if not isinstance(model, DetectionTransformer):
            raise ConfigError(f"{kind} is no DETR (DetectionTransformer) of mmdet")
        handle = model.bbox_head.register_forward_hook(
            lambda head, args, output: outputs.append(output[:2])
        )
        try:
            sample = inference_detector(model, image)
        finally:
            handle.remove()
    logits, boxes = (output[-1][0] for output in outputs[-1])
    frame = ImageFrame.of(sample)
    return RecordedPass(
        name=name or kind,
        image=image,
        frame=frame,
        records={
            f"{match['part']}.{match['index']}": calls[name][-1]
            for name in calls
            if calls[name] and (match := _LAYER.search(name))
        },
        kinds=getattr(model.encoder, "layer_kinds", ""),
        detections=_with_queries(sample.pred_instances, logits, boxes, frame),
        classes=tuple(model.dataset_meta["classes"]),
    )


def _with_queries(
    found: InstanceData, logits: Tensor, boxes: Tensor, frame: ImageFrame
) -> InstanceData:
    """Add to detections the query each came from, one detection a query.

    Heads sort, select and remove duplicates in their own ways, so the query is found
    by what it predicted: the box, then the score where boxes are the same.

    Args:
        found: the head's result.
        logits: (num_queries, num_classes) of the last layer.
        boxes: (num_queries, 4), (cx, cy, w, h), the image being 1.
        frame: of the image.
    """
    height, width = frame.resized_shape
    size = boxes.new_tensor([width, height])
    corners = bbox_cxcywh_to_xyxy(boxes).unflatten(-1, (2, 2)) * size
    corners = corners.clamp(min=torch.zeros_like(size), max=size)
    corners = (corners / boxes.new_tensor(frame.scale_factor)).flatten(-2)
    scores = logits.sigmoid().amax(-1)
    distance = torch.cdist(found.bboxes, corners, p=1)
    distance += (found.scores[:, None] - scores).abs()
    found = found.cpu()
    found.queries = distance.argmin(-1).cpu()
    found = found[found.scores.argsort(descending=True, stable=True)]
    _, first = np.unique(found.queries.numpy(), return_index=True)
    return found[np.sort(first)]
