"""The detector as it is exported: from an image's bytes to boxes, scores, labels."""

from dataclasses import dataclass
from pathlib import Path

import torch
from mmdet.models.dense_heads import DeformableDETRHead, DETRHead
from mmdet.models.detectors import DDQDETR, DeformableDETR, GroundingDINO
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import Tensor, nn

from ..checkpoint.files import read_mmengine
from ..checkpoint.fit import load_whole
from ..dense_heads import LiteDINOHead
from ..detectors.lite_transformer import LiteTransformerMixin
from ..errors import ConfigError
from ..model_config import without_pretrained_weights
from .description import Description, describe
from .duplicates import without_duplicates

# What the module below does after a head; a head that does something else is refused.
_PREDICTIONS = (
    DETRHead._predict_by_feat_single,
    LiteDINOHead._predict_by_feat_single,
)


@dataclass(frozen=True)
class _Filling:
    """What mmdet's transformers ask of an image's sample, for one without padding."""

    img_shape: tuple[int, int]
    batch_input_shape: tuple[int, int]


class DetectorModule(nn.Module):
    """A detector of mmdet's Deformable DETR family from image to detections.

    Does what ``predict`` and the data preprocessor do for images of one size that fill
    their batch, with tensors only.

    Args:
        model: the detector, with its weights; it is set to evaluation.

    Raises:
        ConfigError: the detector is of another family, or its head, its NMS or its
            padding is not one that the module knows.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: BaseModel) -> None:
        super().__init__()
        _refuse_other(model)
        self.model = model
        # Some detectors have other queries in training.
        self.eval().requires_grad_(False)
        preprocessor = model.data_preprocessor
        self.swaps_channels = bool(preprocessor._channel_conversion)
        normalises = preprocessor._enable_normalize
        self.register_buffer(
            "mean", preprocessor.mean if normalises else torch.zeros(3, 1, 1)
        )
        self.register_buffer(
            "std", preprocessor.std if normalises else torch.ones(3, 1, 1)
        )
        test_cfg = model.bbox_head.test_cfg or {}
        self.num_classes = model.bbox_head.num_classes
        self.num_detections = test_cfg.get("max_per_img", model.num_queries)
        nms = test_cfg.get("nms") if isinstance(model.bbox_head, LiteDINOHead) else None
        self.nms_iou = nms["iou_threshold"] if nms else None

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Detect.

        Args:
            image: (batch, 3, height, width), uint8, BGR as OpenCV reads files.

        Returns:
            tuple: boxes (batch, num, 4), float32, (x1, y1, x2, y2) in pixels of the
            image; scores (batch, num), float32, best first; labels (batch, num), int64.
            Where ``test_cfg.nms`` removes an object, its score is 0.
        """
        boxes, scores, labels = self.detect(image)
        return boxes, self.remove_duplicates(boxes, scores, labels), labels

    def detect(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What :meth:`forward` does before NMS; no number of it leaves a GPU.

        Args:
            image: as :meth:`forward`.

        Returns:
            tuple: boxes, scores and labels as :meth:`forward` returns them.
        """
        height, width = image.shape[2:]
        sample = _Filling((height, width), (height, width))
        pixels = image.float()
        if self.swaps_channels:
            pixels = pixels.flip(1)
        feats = self.model.extract_feat((pixels - self.mean) / self.std)
        states = self.model.forward_transformer(feats, [sample])
        all_logits, all_boxes = self.model.bbox_head(
            states["hidden_states"], states["references"]
        )
        scores, indexes = all_logits[-1].sigmoid().flatten(1).topk(self.num_detections)
        labels = indexes % self.num_classes
        queries = (indexes // self.num_classes).unsqueeze(-1).expand(-1, -1, 4)
        boxes = bbox_cxcywh_to_xyxy(all_boxes[-1].gather(1, queries)).clamp(0, 1)
        boxes = torch.stack(
            [
                boxes[..., 0] * width,
                boxes[..., 1] * height,
                boxes[..., 2] * width,
                boxes[..., 3] * height,
            ],
            dim=-1,
        )
        return boxes, scores, labels

    def remove_duplicates(
        self, boxes: Tensor, scores: Tensor, labels: Tensor
    ) -> Tensor:
        """The scores, 0 where ``test_cfg.nms`` removes an object."""
        if self.nms_iou is None:
            return scores
        return without_duplicates(boxes, scores, labels, self.nms_iou)


def build_module(
    cfg: Config,
    weights: str | Path,
    shape: tuple[int, int] | None,
    batch: int | None = None,
) -> tuple[DetectorModule, Description]:
    """Build a detector from its config and load its weights, every one of them.

    Args:
        cfg: a whole config.
        weights: a checkpoint of mmengine.
        shape: (height, width) that the export is fixed to, or None.
        batch: number of images; as :func:`~.description.describe`.

    Returns:
        tuple: the module, and what its file should say.

    Raises:
        ConfigError: there is no such checkpoint, its weights are not those of the
            config's model, or model or test pipeline cannot be exported.
    """
    checkpoint = read_mmengine(weights)
    description = describe(cfg, checkpoint.get("meta") or {}, shape, batch)
    model = MODELS.build(without_pretrained_weights(cfg.model))
    module = DetectorModule(model)
    load_whole(model, checkpoint, weights)
    return module, description


def require_lite(model: BaseModel, what: str, instead: str = "") -> None:
    """Refuse mmdet's own types, which ask tensors for sizes and so stop a capture.

    Args:
        model: the detector.
        what: captures it, for the message.
        instead: what else there is, for the message.

    Raises:
        ConfigError: the detector is of no Lite type.
    """
    if not isinstance(model, LiteTransformerMixin):
        raise ConfigError(
            f"mmdet's {type(model).__name__} stops {what}: take a Lite type{instead}"
        )


def _refuse_other(model: BaseModel) -> None:
    name = type(model).__name__
    if not isinstance(model, DeformableDETR) or isinstance(
        model, DDQDETR | GroundingDINO
    ):
        raise ConfigError(
            f"{name} cannot be exported: DINO, Deformable DETR, H-DETR and their Lite "
            "variants can"
        )
    head = model.bbox_head
    if (
        type(head).predict_by_feat is not DeformableDETRHead.predict_by_feat
        or type(head)._predict_by_feat_single not in _PREDICTIONS
        or not head.loss_cls.use_sigmoid
    ):
        raise ConfigError(
            f"{type(head).__name__} predicts in a way of its own, which the export "
            "does not know: DINOHead, LiteDINOHead and DeformableDETRHead with sigmoid "
            "scores can be exported"
        )
    nms = (head.test_cfg or {}).get("nms")
    if nms and (
        nms.get("type", "nms") != "nms" or set(nms) - {"type", "iou_threshold"}
    ):
        raise ConfigError(
            "test_cfg.nms must be dict(type='nms', iou_threshold=...) to be exported, "
            f"but is {dict(nms)}; --cfg-options model.test_cfg.nms=None leaves it out"
        )
    divisor = model.data_preprocessor.pad_size_divisor
    if divisor != 1:
        raise ConfigError(
            "an exported detector knows no padding, but "
            f"model.data_preprocessor.pad_size_divisor is {divisor}; set it to 1"
        )
