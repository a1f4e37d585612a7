"""The same layers and queries of one model, or of two side by side."""

from collections.abc import Sequence

from ..errors import ConfigError
from .attention_panel import (
    AttentionPanel,
    default_stride,
    detection_panel,
    same_object,
    token_panel,
)
from .recorded_pass import RecordedPass


def choose_layers(
    passes: Sequence[RecordedPass], names: Sequence[str], part: str
) -> list[str]:
    """Take layers by their short names.

    Args:
        passes: one for each model; all must have the layers.
        names: ``'encoder'`` or ``'decoder'`` for all layers of it, ``'decoder.0'`` for
            one, or ``'0'`` for one of ``part``. None at all means the last of ``part``.
        part: ``'encoder'`` or ``'decoder'``.

    Returns:
        list: such as ``['encoder.3', 'decoder.0']``, each once.

    Raises:
        ConfigError: a model has no such layer.
    """
    first = passes[0].records
    if not names:
        of_part = [layer for layer in first if layer.startswith(f"{part}.")]
        names = of_part[-1:] or [part]
    chosen: list[str] = []
    for name in names:
        layers = [layer for layer in first if layer.startswith(f"{name}.")]
        chosen += layers or [f"{part}.{name}" if name.isdigit() else name]
    for seen in passes:
        for layer in chosen:
            seen.record(layer)
    return list(dict.fromkeys(chosen))


def panels_of_pixels(
    passes: Sequence[RecordedPass],
    layer: str,
    pixels: Sequence[Sequence[float]],
    stride: int | None = None,
    head: int | None = None,
) -> list[AttentionPanel]:
    """Tokens nearest to pixels, every model's beside one another.

    Args:
        passes: the image through each model.
        layer: of the encoder.
        pixels: (x, y) of the image as it was read.
        stride: the map whose tokens they are; None for :func:`default_stride`.
        head: one head only; None for all.

    Raises:
        ConfigError: as :func:`token_panel`.
    """
    stride = default_stride(passes) if stride is None else stride
    return [
        token_panel(seen, layer, pixel, stride, head)
        for pixel in pixels
        for seen in passes
    ]


def panels_of_detections(
    passes: Sequence[RecordedPass],
    layer: str,
    top: int,
    stride: int | None = None,
    head: int | None = None,
) -> list[AttentionPanel]:
    """The first model's best detections, every model's of that object side by side.

    Args:
        passes: the image through each model.
        layer: of the decoder, or of the encoder for the tokens at the boxes' centres.
        top: how many detections.
        stride: of the tokens; None for :func:`default_stride`.
        head: one head only; None for all.

    Raises:
        ConfigError: ``top`` is not positive or exceeds the detections, another model
            finds nothing there, or as :func:`detection_panel`.
    """
    if top < 1:
        raise ConfigError(f"--top must be at least 1, but got {top}")
    if layer.startswith("encoder.") and stride is None:
        stride = default_stride(passes)
    panels = []
    for rank in range(top):
        panels.append(detection_panel(passes[0], layer, rank, stride, head))
        for other in passes[1:]:
            match = same_object(passes[0], rank, other)
            panels.append(detection_panel(other, layer, match, stride, head))
    return panels
