"""Record where the deformable attentions of a model look, without touching it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from mmcv.ops import MultiScaleDeformableAttention
from torch import Tensor, nn

from ..errors import ConfigError
from ..layers.key_aware_attention import (
    KeyAwareDeformableAttention,
    sampling_locations_from,
)
from ..ops.backends.reference import key_aware_attention_weights


@dataclass(frozen=True)
class AttentionRecord:
    """One call of a deformable attention, plain or key-aware.

    Attributes:
        sampling_locations: (batch, num_queries, num_heads, num_levels, num_points, 2),
            (x, y), a level's width and height being 1.
        attention_weights: (batch, num_queries, num_heads, num_levels, num_points), of
            sum 1 over the last two.
        reference_points: (batch, num_queries, num_levels, 2 or 4).
        spatial_shapes: (num_levels, 2), (height, width).
        identity: (batch, num_queries, embed_dims), what the attention was added to.
        update: (batch, num_queries, embed_dims), what it added.
    """

    sampling_locations: Tensor
    attention_weights: Tensor
    reference_points: Tensor
    spatial_shapes: Tensor
    identity: Tensor
    update: Tensor


@contextmanager
def record_attention(model: nn.Module) -> Iterator[dict[str, list[AttentionRecord]]]:
    """Record every call of deformable attention while the block runs.

    Locations and weights are computed once more, by the operator's definition, from
    what the module was called with; the model runs as it would. Outside of the block
    nothing is left of it. The modules must be ``batch_first``, as mmdet's are.

    Args:
        model: holds ``MultiScaleDeformableAttention`` or
            ``KeyAwareDeformableAttention`` somewhere.

    Yields:
        dict: the calls so far by the module's name, such as
        ``'encoder.layers.0.self_attn'``; detached tensors.

    Raises:
        ConfigError: the model has no such attention.
    """
    attentions = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, MultiScaleDeformableAttention)
    }
    if not attentions:
        raise ConfigError(f"{type(model).__name__} has no deformable attention")
    records: dict[str, list[AttentionRecord]] = {name: [] for name in attentions}

    def hook_of(name: str):
        def record(module: nn.Module, args: tuple, kwargs: dict, output: Tensor):
            records[name].append(_record_of(module, *args, **kwargs, output=output))

        return record

    handles = [
        module.register_forward_hook(hook_of(name), with_kwargs=True)
        for name, module in attentions.items()
    ]
    try:
        yield records
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _record_of(
    module: MultiScaleDeformableAttention,
    query: Tensor,
    key: Tensor | None = None,
    value: Tensor | None = None,
    identity: Tensor | None = None,
    query_pos: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
    *,
    reference_points: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    output: Tensor,
    **kwargs,
) -> AttentionRecord:
    value = query if value is None else value
    identity = query if identity is None else identity
    positioned = query if query_pos is None else query + query_pos
    if isinstance(module, KeyAwareDeformableAttention):
        arguments = module.operator_arguments(
            positioned, value, key_padding_mask, reference_points, spatial_shapes
        )
        locations = arguments["sampling_locations"]
        keys = arguments["value"] if arguments["key"] is None else arguments["key"]
        weights = key_aware_attention_weights(
            arguments["query"],
            keys,
            spatial_shapes,
            level_start_index,
            locations,
            arguments["predicted_logits"],
        )
    else:
        locations = sampling_locations_from(
            reference_points,
            module.sampling_offsets(positioned),
            spatial_shapes,
            module.num_heads,
            module.num_points,
        )
        weights = module.attention_weights(positioned)
        weights = weights.unflatten(-1, (module.num_heads, -1)).softmax(-1)
        weights = weights.unflatten(-1, (module.num_levels, module.num_points))
    return AttentionRecord(
        sampling_locations=locations,
        attention_weights=weights,
        reference_points=reference_points.detach(),
        spatial_shapes=spatial_shapes,
        identity=identity.detach(),
        update=(output - identity).detach(),
    )
