"""Where the attention of whole layers goes, in numbers."""

from collections.abc import Sequence
from typing import Any

from ..markdown import markdown_table
from .attention_panel import chosen_heads
from .recorded_pass import RecordedPass


def summarise_attention(
    seen: RecordedPass, layer: str, head: int | None = None
) -> list[dict[str, Any]]:
    """Average a layer's attention over its queries, level by level.

    Tokens of the padding are left out; every query of a decoder counts.

    Args:
        seen: a recorded pass.
        layer: such as ``'encoder.3'``.
        head: one head only; None for all.

    Returns:
        list: a row a level: ``model``, ``layer``, ``stride``, ``num_queries``,
        ``weight_share`` (of the attention weight, 1 over the levels),
        ``mean_distance`` of samples from the query's reference in pixels of the image
        as it was read, ``outside_share`` of samples beyond the map, where attention
        reads zeros, and ``outside_weight``, the part of the attention weight there.

    Raises:
        ConfigError: there is no such layer or head.
    """
    record = seen.record(layer)
    heads = chosen_heads(seen, layer, head)
    references = seen.reference_pixels(layer)
    height, width = seen.image.shape[:2]
    of_image = (references <= references.new_tensor([width, height])).all(-1)
    locations = record.sampling_locations[0, of_image][:, heads]
    weights = record.attention_weights[0, of_image][:, heads]
    samples = seen.frame.to_pixels(locations, record.spatial_shapes)
    distance = (samples - references[of_image, None, None, None]).norm(dim=-1)
    outside = ((locations < 0) | (locations > 1)).any(-1).to(weights)
    return [
        {
            "model": seen.name,
            "layer": seen.describe(layer),
            "stride": stride,
            "num_queries": len(locations),
            "weight_share": weights[:, :, level].sum(-1).mean().item(),
            "mean_distance": distance[:, :, level].mean().item(),
            "outside_share": outside[:, :, level].mean().item(),
            "outside_weight": (weights * outside)[:, :, level].sum(-1).mean().item(),
        }
        for level, stride in enumerate(seen.frame.strides(record.spatial_shapes))
    ]


def summary_table(rows: Sequence[dict[str, Any]]) -> str:
    """Lay out rows of :func:`summarise_attention` in Markdown."""
    header = [
        "model",
        "layer",
        "queries",
        "level",
        "attention weight",
        "mean distance, pixels",
        "samples beyond the map",
        "weight beyond the map",
    ]
    return markdown_table(
        header,
        [
            [
                row["model"],
                row["layer"],
                f"{row['num_queries']:,}",
                f"stride {row['stride']}",
                f"{row['weight_share']:.1%}",
                f"{row['mean_distance']:.1f}",
                f"{row['outside_share']:.1%}",
                f"{row['outside_weight']:.1%}",
            ]
            for row in rows
        ],
    )
