"""Lite-Deformable-DETR: Deformable DETR with the interleaved encoder."""

from mmdet.models.dense_heads import DeformableDETRHead
from mmdet.models.detectors import DeformableDETR
from mmdet.registry import MODELS

from .lite_transformer import LiteTransformerMixin


@MODELS.register_module()
class LiteDeformableDETR(LiteTransformerMixin, DeformableDETR):
    """mmdet's ``DeformableDETR`` with the encoder and attention of Lite DETR.

    Takes any config of ``DeformableDETR``, with box refinement and in two stages too;
    see :class:`LiteTransformerMixin` for what it adds.
    """

    bbox_head_class = DeformableDETRHead

    def pre_decoder(self, *args, **kwargs) -> tuple[dict, dict]:
        """Prepare the queries as mmdet does, in memory of their own.

        mmdet's are halves of one tensor, and a captured graph of open batch would ask
        whether their strides are those of that tensor: for a batch of two they are.

        Args:
            *args: as mmdet's hook, with **kwargs.

        Returns:
            tuple: as mmdet's hook.
        """
        decoder_inputs, head_inputs = super().pre_decoder(*args, **kwargs)
        for name in ("query", "query_pos"):
            decoder_inputs[name] = decoder_inputs[name].contiguous()
        return decoder_inputs, head_inputs
