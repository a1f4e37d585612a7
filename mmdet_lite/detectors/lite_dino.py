"""Lite-DINO: DINO with the interleaved encoder."""

import torch
from mmdet.models.dense_heads import DINOHead
from mmdet.models.detectors import DINO
from mmdet.registry import MODELS
from torch import Tensor

from .lite_transformer import LiteTransformerMixin


@MODELS.register_module()
class LiteDINO(LiteTransformerMixin, DINO):
    """mmdet's ``DINO`` with the encoder and attention of Lite DETR.

    Takes any config of ``DINO``; see :class:`LiteTransformerMixin` for what it adds.
    """

    bbox_head_class = DINOHead

    def forward_decoder(self, *, dn_mask: Tensor | None = None, **kwargs) -> dict:
        """Decode as mmdet does, with one mask for all layers.

        PyTorch makes numbers of a mask of bools, and every layer keeps its own for the
        backward pass. Of a mask of numbers all keep the same.

        Args:
            dn_mask: (num_queries, num_queries), True where a query must not look, or
                None.
            **kwargs: as mmdet's hook.

        Returns:
            dict: what the head takes.
        """
        if dn_mask is not None and dn_mask.dtype == torch.bool:
            numbers = torch.zeros_like(dn_mask, dtype=kwargs["query"].dtype)
            dn_mask = numbers.masked_fill_(dn_mask, -torch.inf)
        return super().forward_decoder(dn_mask=dn_mask, **kwargs)
