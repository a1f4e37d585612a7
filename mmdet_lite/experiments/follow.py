"""Follow activations and gradients through encoder and decoder, layer by layer."""

import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmdet.models.detectors import BaseDetector
from mmengine.config import Config
from mmengine.runner import Runner
from torch import Tensor, nn

from ..visualization.attention_record import AttentionRecord, record_attention
from .detector import build_detector

COLUMNS = {
    "entropy": "entropy of the weights, of its maximum",
    "wander": "distance of samples from their reference, pixels of their level",
    "outside": "samples outside of their map, where attention reads zeros",
    "weight_outside": "attention weight on those",
    "update_low": "attention's update of low tokens, of their size",
    "update_high": "the same of high tokens, or of the decoder's queries",
    "gradient_low": "loss's gradient at the layer's low tokens, times 1e6",
    "gradient_high": "the same at high tokens",
}
"""What is followed of each layer, all but the gradients as shares or pixels."""


def follow(
    cfg: Config, checkpoint: str | None = None, batches: int = 4, seed: int = 0
) -> list[dict[str, Any]]:
    """Run training batches forward and backward and watch the layers.

    mmdet's modules must be registered. Nothing is trained.

    Args:
        cfg: a whole config of a detector with a multi-scale deformable encoder.
        checkpoint: weights to load; None for those of the initialisation.
        batches: training batches to average over.
        seed: of initialisation, augmentation and denoising.

    Returns:
        list: a row for each encoder layer and decoder layer, with ``layer`` and the
        keys of :data:`COLUMNS`; None where a layer has no such thing.
    """
    model = build_detector(cfg.model, checkpoint, seed).train()
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=seed)
    # The stock encoder is followed as if it told the levels apart.
    num_high_levels = getattr(model.encoder, "num_high_levels", 3)
    sums: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for _, data in zip(range(batches), loader, strict=False):
        data = model.data_preprocessor(data, training=True)
        with record_attention(model) as records, _tokens_after_layers(model) as tokens:
            losses, _ = model.parse_losses(model(**data, mode="loss"))
            model.zero_grad()
            losses.backward()
        for name, calls in records.items():
            layer = name.rsplit(".", 1)[0]
            for key, number in _measures(calls[0], num_high_levels).items():
                sums[layer][key].append(number)
        for layer, after in tokens.items():
            low = _num_low(records[f"{layer}.self_attn"][0], num_high_levels)
            gradient = after.grad
            assert gradient is not None  # retain_grad() was asked for
            for key, part in (
                ("gradient_low", gradient[:, :low]),
                ("gradient_high", gradient[:, low:]),
            ):
                sums[layer][key].append(_rms(part) * 1e6)
    return [
        {
            "layer": layer,
            **{
                key: sum(numbers[key]) / len(numbers[key]) if key in numbers else None
                for key in COLUMNS
            },
        }
        for layer, numbers in sums.items()
    ]


@contextmanager
def _tokens_after_layers(model: BaseDetector) -> Iterator[dict[str, Tensor]]:
    """Keep what leaves each encoder layer, so that its gradient can be read."""
    tokens: dict[str, Tensor] = {}

    def hook_of(name: str):
        def keep(module: nn.Module, args: tuple, output: Tensor) -> None:
            output.retain_grad()
            tokens[name] = output

        return keep

    handles = [
        layer.register_forward_hook(hook_of(f"encoder.layers.{index}"))
        for index, layer in enumerate(model.encoder.layers)
    ]
    try:
        yield tokens
    finally:
        for handle in handles:
            handle.remove()


def _num_low(record: AttentionRecord, num_high_levels: int) -> int:
    return int(record.spatial_shapes[:-num_high_levels].prod(-1).sum())


def _measures(record: AttentionRecord, num_high_levels: int) -> dict[str, float]:
    weights = record.attention_weights.flatten(3)
    entropy = -(weights * weights.clamp(min=1e-12).log()).sum(-1).mean()
    locations = record.sampling_locations
    # (batch, num_queries, 1, num_levels, 1, 2)
    centres = record.reference_points[..., :2][:, :, None, :, None]
    sizes = record.spatial_shapes.flip(-1)[:, None]
    distances = ((locations - centres) * sizes).norm(dim=-1)
    outside = ((locations < 0) | (locations > 1)).any(-1)
    measures = {
        "entropy": float(entropy) / math.log(weights.shape[-1]),
        "wander": float(distances.mean()),
        "outside": float(outside.float().mean()),
        "weight_outside": float((weights * outside.flatten(3)).sum(-1).mean()),
    }
    num_tokens = int(record.spatial_shapes.prod(-1).sum())
    num_low = _num_low(record, num_high_levels)
    # Queries are all tokens, the high ones, or those of a decoder.
    num_queries = locations.shape[1]
    if num_queries == num_tokens:
        low = slice(0, num_low)
        measures["update_low"] = _share(record, low)
        measures["update_high"] = _share(record, slice(num_low, None))
    else:
        measures["update_high"] = _share(record, slice(None))
    return measures


def _share(record: AttentionRecord, queries: slice) -> float:
    return _rms(record.update[:, queries]) / _rms(record.identity[:, queries])


def _rms(tensor: Tensor) -> float:
    return float(tensor.square().mean().sqrt())
