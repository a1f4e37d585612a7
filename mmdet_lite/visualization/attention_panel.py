"""Choose a query and find where it looks, in pixels of the image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from mmdet.structures.bbox import bbox_overlaps

from ..errors import ConfigError
from .recorded_pass import RecordedPass


@dataclass(frozen=True)
class AttentionPanel:
    """The samples of one query in one layer, ready to be drawn.

    Attributes:
        title: which layer and heads.
        subtitle: which query.
        image: (height, width, 3), uint8, BGR.
        samples: (num_heads, num_levels, num_points, 2), (x, y) in pixels of the image.
        weights: (num_heads, num_levels, num_points), of sum 1 in a head.
        strides: of the levels.
        reference: (2,), (x, y), where the query is.
        box: (4,), (x1, y1, x2, y2), in pixels of the image.
        box_name: what the box is: ``'cell'`` of the token that is the query, or
            ``'detection'`` that the query becomes.
    """

    title: str
    subtitle: str
    image: np.ndarray
    samples: np.ndarray
    weights: np.ndarray
    strides: tuple[int, ...]
    reference: np.ndarray
    box: np.ndarray
    box_name: str

    @property
    def outside(self) -> np.ndarray:
        """(num_heads, num_levels, num_points), True for samples beyond the image."""
        height, width = self.image.shape[:2]
        beyond = (self.samples < 0) | (self.samples > (width, height))
        return np.any(beyond, axis=-1)

    @property
    def outside_weight(self) -> float:
        """Share of the weight that those samples have."""
        return float(self.weights[self.outside].sum() / self.weights.sum())


def check_pixel(seen: RecordedPass, pixel: Sequence[float]) -> None:
    """Refuse a pixel that is not one of the image.

    Raises:
        ConfigError: it lies outside.
    """
    height, width = seen.image.shape[:2]
    if not (0 <= pixel[0] < width and 0 <= pixel[1] < height):
        raise ConfigError(
            f"the query {pixel[0]:g},{pixel[1]:g} is outside of the image, which is "
            f"{width} pixels wide and {height} high"
        )


def default_stride(passes: Sequence[RecordedPass]) -> int:
    """The finest stride whose tokens are queries in every encoder layer of all models.

    Of an interleaved encoder that is the finest high level, of others the finest level.

    Raises:
        ConfigError: a model has no encoder layer, or there is no such stride.
    """
    common: set[int] | None = None
    for seen in passes:
        layers = [layer for layer in seen.records if layer.startswith("encoder.")]
        if not layers:
            raise ConfigError(f"{seen.name} has no encoder of deformable attention")
        for layer in layers:
            strides = set(seen.query_strides(layer).tolist())
            common = strides if common is None else common & strides
    if not common:
        raise ConfigError("the models have no level in common whose tokens are queries")
    return min(common)


def token_panel(
    seen: RecordedPass,
    layer: str,
    pixel: Sequence[float],
    stride: int | None = None,
    head: int | None = None,
) -> AttentionPanel:
    """Where the token nearest to a pixel looks in an encoder layer.

    Args:
        seen: a recorded pass.
        layer: such as ``'encoder.3'``.
        pixel: (x, y) of the image as it was read.
        stride: the map whose token it is; None for :func:`default_stride`.
        head: one head only; None for all.

    Raises:
        ConfigError: the pixel is outside of the image, or there is no such layer, head
            or no token of this stride among the layer's queries.
    """
    check_pixel(seen, pixel)
    stride = default_stride([seen]) if stride is None else stride
    seen.record(layer)
    if not layer.startswith("encoder."):
        raise ConfigError(f"{layer} has no tokens as queries; draw a detection")
    places = seen.reference_pixels(layer)
    of_stride = seen.query_strides(layer) == stride
    if not of_stride.any():
        strides = sorted(set(seen.query_strides(layer).tolist()))
        raise ConfigError(
            f"the queries of {seen.name}'s {seen.describe(layer)} are tokens of stride "
            f"{', '.join(map(str, strides))}, not {stride}"
        )
    distance = (places - places.new_tensor(pixel)).norm(dim=-1).cpu()
    query = int(distance.masked_fill(~of_stride, torch.inf).argmin())
    x, y = places[query].tolist()
    half_width, half_height = (stride / 2 / scale for scale in seen.frame.scale_factor)
    box = np.array([x - half_width, y - half_height, x + half_width, y + half_height])
    subtitle = f"token of stride {stride} at ({x:.0f}, {y:.0f})"
    return _panel(seen, layer, query, subtitle, box, "cell", head)


def detection_panel(
    seen: RecordedPass,
    layer: str,
    rank: int,
    stride: int | None = None,
    head: int | None = None,
) -> AttentionPanel:
    """Where the query of a detection looks in a decoder layer.

    In an encoder layer it is the token nearest to the centre of the detection's box.

    Args:
        seen: a recorded pass.
        layer: such as ``'decoder.0'``.
        rank: of the detection, 0 for the highest score.
        stride: of the token in an encoder layer, as :func:`token_panel` has it.
        head: one head only; None for all.

    Raises:
        ConfigError: there is no such layer or head, or there are fewer detections.
    """
    seen.record(layer)
    found = seen.detections
    if rank >= len(found):
        raise ConfigError(
            f"{seen.name} makes {len(found)} detections on the image, but number "
            f"{rank + 1} is wanted"
        )
    name = seen.classes[int(found.labels[rank])]
    subtitle = f"{name}, score {found.scores[rank]:.2f}"
    box = found.bboxes[rank].numpy()
    if layer.startswith("encoder."):
        centre = box.reshape(2, 2).mean(0)
        limit = np.array(seen.image.shape[1::-1]) - 1
        panel = token_panel(seen, layer, np.clip(centre, 0, limit), stride, head)
        return replace(
            panel,
            subtitle=f"{subtitle}: {panel.subtitle}",
            box=box,
            box_name="detection",
        )
    query = int(found.queries[rank])
    return _panel(seen, layer, query, subtitle, box, "detection", head)


def same_object(seen: RecordedPass, rank: int, other: RecordedPass) -> int:
    """Rank of another model's detection of the same object.

    Args:
        seen: a recorded pass.
        rank: of its detection.
        other: the same image through another model.

    Returns:
        int: the detection of the highest score times overlap (IoU).

    Raises:
        ConfigError: the other model finds nothing there.
    """
    box = seen.detections.bboxes[rank : rank + 1]
    overlap = bbox_overlaps(other.detections.bboxes, box)[:, 0]
    best = int((overlap * other.detections.scores).argmax())
    if not overlap[best] > 0:
        raise ConfigError(
            f"{other.name} finds nothing where {seen.name}'s detection {rank + 1} is"
        )
    return best


def _panel(
    seen: RecordedPass,
    layer: str,
    query: int,
    subtitle: str,
    box: np.ndarray,
    box_name: str,
    head: int | None,
) -> AttentionPanel:
    record = seen.record(layer)
    heads = chosen_heads(seen, layer, head)
    samples = seen.frame.to_pixels(
        record.sampling_locations[0, query, heads], record.spatial_shapes
    )
    return AttentionPanel(
        title=f"{seen.name} · {seen.describe(layer)}, "
        f"{'all heads' if head is None else f'head {head}'}",
        subtitle=subtitle,
        image=seen.image,
        samples=samples.cpu().numpy(),
        weights=record.attention_weights[0, query, heads].cpu().numpy(),
        strides=tuple(seen.frame.strides(record.spatial_shapes)),
        reference=seen.reference_pixels(layer)[query].cpu().numpy(),
        box=box,
        box_name=box_name,
    )


def chosen_heads(seen: RecordedPass, layer: str, head: int | None) -> slice:
    """The heads of a layer as a slice, all for None.

    Raises:
        ConfigError: there is no such head.
    """
    if head is None:
        return slice(None)
    number = seen.record(layer).attention_weights.shape[2]
    if not 0 <= head < number:
        raise ConfigError(
            f"{seen.name}'s {seen.describe(layer)} has heads 0 to {number - 1}, "
            f"but not {head}"
        )
    return slice(head, head + 1)
