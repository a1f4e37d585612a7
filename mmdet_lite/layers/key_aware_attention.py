"""Key-aware deformable attention as a module (Lite DETR, section 4.4)."""

from typing import Any

import torch
from mmcv.ops import MultiScaleDeformableAttention
from mmdet.registry import MODELS
from mmengine.model import constant_init, xavier_init
from mmengine.utils import deprecated_api_warning
from torch import Tensor, nn

from ..arguments import arguments_of
from ..ops import key_aware_deformable_attention
from .arguments import check_attention_arguments


@MODELS.register_module()
class KeyAwareDeformableAttention(MultiScaleDeformableAttention):
    """Deformable attention whose weights compare the query with the sampled keys.

    Stands wherever mmcv's ``MultiScaleDeformableAttention`` stands: the same call and
    argument names, and mmdet's ``init_weights`` treats it as one. The linear layer that
    predicts attention weights gives way to a projection of the query, or stands beside
    it (``predict_logits``).

    Args:
        *args: as ``MultiScaleDeformableAttention``.
        proj_key (bool): project keys by a linear layer of their own. Defaults to False,
            as in the released models: the keys are the projected values, and one
            gather serves both.
        uniform_start (bool): start from a query projection of zeros. Every sample then
            weighs the same at first, as in deformable attention, where the released
            models start from random weights. Defaults to False.
        predict_logits (bool): add logits that the query predicts by itself to those
            from query · key. Deformable attention's linear layer ``attention_weights``,
            of ``num_heads * num_levels * num_points`` outputs, predicts them, and the
            query projection starts from zeros: at first this is deformable attention
            of the same weights, and it learns to look at keys. Not in the paper.
            Defaults to False.
        backend (str): backend of the operator, see
            :func:`mmdet_lite.ops.key_aware_deformable_attention`.
        **kwargs: as ``MultiScaleDeformableAttention``.

    Raises:
        ConfigError: an argument is unknown or out of its range.
    """

    def __init__(
        self,
        *args,
        proj_key: bool = False,
        uniform_start: bool = False,
        predict_logits: bool = False,
        backend: str = "auto",
        **kwargs,
    ) -> None:
        own = {
            "proj_key": proj_key,
            "uniform_start": uniform_start,
            "predict_logits": predict_logits,
            "backend": backend,
        }
        names = arguments_of(MultiScaleDeformableAttention)
        positional = dict(zip(names, args, strict=False))
        check_attention_arguments(type(self), {**positional, **kwargs, **own})
        super().__init__(*args, **kwargs)
        self.query_starts_from_zeros = uniform_start or predict_logits
        if not predict_logits:
            # The weights come from query · key alone (section 4.4).
            self.attention_weights = None
        projected_dims = self.value_proj.out_features
        self.query_proj = nn.Linear(self.embed_dims, projected_dims)
        self.key_proj = nn.Linear(self.embed_dims, projected_dims) if proj_key else None
        self.backend = backend
        self.init_weights()

    def init_weights(self) -> None:
        """Offsets as in deformable attention; projections xavier-uniform, biases 0."""
        super().init_weights()
        # The base class calls this before these projections exist.
        for name in ("query_proj", "key_proj"):
            projection = getattr(self, name, None)
            if projection is not None:
                xavier_init(projection, distribution="uniform", bias=0.0)
        if getattr(self, "query_starts_from_zeros", False):
            constant_init(self.query_proj, val=0.0)

    @deprecated_api_warning(
        {"residual": "identity"}, cls_name="KeyAwareDeformableAttention"
    )
    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        identity: Tensor | None = None,
        query_pos: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        reference_points: Tensor | None = None,
        spatial_shapes: Tensor | None = None,
        level_start_index: Tensor | None = None,
        **kwargs,
    ) -> Tensor:
        """Attend from every query to the sampled tokens of ``value``.

        Shapes are written batch first; without ``batch_first`` the first two dimensions
        of ``query``, ``value``, ``identity``, ``query_pos`` and the result are swapped.

        Args:
            query: (batch, num_queries, embed_dims).
            key: ignored, as mmcv's module does: keys are made from ``value``.
            value: (batch, num_tokens, embed_dims), None for ``query``.
            identity: (batch, num_queries, embed_dims), added to the result; None for
                ``query``.
            query_pos: (batch, num_queries, embed_dims), added to the query only.
            key_padding_mask: (batch, num_tokens), True where a token is padding.
            reference_points: (batch, num_queries, num_levels, 2 or 4), (x, y) or
                (x, y, w, h), normalised by the padded image.
            spatial_shapes: (num_levels, 2), integer, (height, width).
            level_start_index: (num_levels,), integer.
            **kwargs: ignored, for callers that pass more.

        Returns:
            Tensor: (batch, num_queries, embed_dims).

        Raises:
            ValueError: ``reference_points``, ``spatial_shapes`` or
                ``level_start_index`` is not given (None is mmcv's default); the last
                dimension of ``reference_points`` is not 2 or 4; or the operator refuses
                a shape.
        """
        if (
            reference_points is None
            or spatial_shapes is None
            or level_start_index is None
        ):
            raise ValueError(
                "reference_points, spatial_shapes and level_start_index are needed"
            )
        value = query if value is None else value
        identity = query if identity is None else identity
        if query_pos is not None:
            query = query + query_pos
        if not self.batch_first:
            query, value = query.transpose(0, 1), value.transpose(0, 1)

        output = key_aware_deformable_attention(
            **self.operator_arguments(
                query, value, key_padding_mask, reference_points, spatial_shapes
            ),
            spatial_shapes=spatial_shapes,
            level_start_index=level_start_index,
            backend=self.backend,
        )
        output = self.output_proj(output)
        if not self.batch_first:
            output = output.transpose(0, 1)
        return self.dropout(output) + identity

    def operator_arguments(
        self,
        query: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None,
        reference_points: Tensor,
        spatial_shapes: Tensor,
    ) -> dict[str, Any]:
        """What the operator is given besides the levels.

        Args:
            query: (batch, num_queries, embed_dims), with its position.
            value: (batch, num_tokens, embed_dims).
            key_padding_mask: as :meth:`forward`, with ``reference_points`` and
                ``spatial_shapes``.

        Returns:
            dict: ``query``, ``value``, ``key`` (None where the key is the value),
            ``sampling_locations`` and ``predicted_logits`` (None where there are none)
            of :func:`~mmdet_lite.ops.key_aware_deformable_attention`.
        """
        # The operator keeps locations in float32 under autocast: half precision cannot
        # address a 200-pixel map.
        sampling_locations = sampling_locations_from(
            reference_points.float()
            if reference_points.dtype in (torch.float16, torch.bfloat16)
            else reference_points,
            self.sampling_offsets(query),
            spatial_shapes,
            self.num_heads,
            self.num_points,
        )
        return {
            "query": self._split_heads(self.query_proj(query)),
            "value": self._project_tokens(self.value_proj, value, key_padding_mask),
            "key": None
            if self.key_proj is None
            else self._project_tokens(self.key_proj, value, key_padding_mask),
            "sampling_locations": sampling_locations,
            "predicted_logits": None
            if self.attention_weights is None
            else self.attention_weights(query).view(
                *query.shape[:2], self.num_heads, self.num_levels, self.num_points
            ),
        }

    def _project_tokens(
        self, projection: nn.Linear, tokens: Tensor, key_padding_mask: Tensor | None
    ) -> Tensor:
        """Project, then zero the padding, as deformable attention does."""
        projected = projection(tokens)
        if key_padding_mask is not None:
            projected = projected.masked_fill(key_padding_mask.unsqueeze(-1), 0.0)
        return self._split_heads(projected)

    def _split_heads(self, tokens: Tensor) -> Tensor:
        """(batch, n, dims) -> (batch, n, num_heads, dims / num_heads)."""
        # ONNX keeps the batch of ``unflatten`` as it was while tracing.
        return tokens.view(*tokens.shape[:2], self.num_heads, -1)


def sampling_locations_from(
    reference_points: Tensor,
    sampling_offsets: Tensor,
    spatial_shapes: Tensor,
    num_heads: int,
    num_points: int,
) -> Tensor:
    """Where each query samples (Deformable DETR, section 4.1 and appendix A.4).

    Args:
        reference_points: (batch, num_queries, num_levels, 2 or 4).
        sampling_offsets: (batch, num_queries, num_heads * num_levels * num_points * 2),
            in pixels of their level for points, in half box sizes / num_points for
            boxes.
        spatial_shapes: (num_levels, 2), (height, width).
        num_heads: heads of the attention.
        num_points: samples of a query and head on each level.

    Returns:
        Tensor: (batch, num_queries, num_heads, num_levels, num_points, 2), the wider
        dtype of ``reference_points`` and ``sampling_offsets``.

    Raises:
        ValueError: the last dimension of ``reference_points`` is not 2 or 4.
    """
    # In a float64 model mmdet's encoder reference points are float32 all the same.
    dtype = torch.promote_types(reference_points.dtype, sampling_offsets.dtype)
    reference_points = reference_points.to(dtype)
    if reference_points.shape[-1] == 2:
        scale = 1 / spatial_shapes.flip(-1).to(dtype)
    elif reference_points.shape[-1] == 4:
        scale = reference_points[..., 2:] * (0.5 / num_points)
    else:
        raise ValueError(
            "the last dimension of reference_points must be 2 (x, y) or 4 (x, y, w, "
            f"h), but got shape {tuple(reference_points.shape)}"
        )
    # One pass over the offsets, along rows of num_levels * num_points * 2 numbers:
    # broadcasting over pairs (x, y) would take several times as long.
    locations = torch.addcmul(
        _for_each_point(reference_points[..., :2], num_points),
        sampling_offsets.view(*sampling_offsets.shape[:2], num_heads, -1).to(dtype),
        _for_each_point(scale, num_points),
    )
    return locations.view(*locations.shape[:3], -1, num_points, 2)


def _for_each_point(per_level: Tensor, num_points: int) -> Tensor:
    """(..., num_levels, 2) -> (..., 1, num_levels * num_points * 2), for every head."""
    repeated = per_level.unsqueeze(-2).expand(*per_level.shape[:-1], num_points, 2)
    return repeated.flatten(-3).unsqueeze(-2)
