"""Lite-DDQ-DETR: DDQ-DETR with the interleaved encoder."""

from mmdet.models.dense_heads import DDQDETRHead
from mmdet.models.detectors import DDQDETR
from mmdet.registry import MODELS
from mmdet.utils import ConfigType

from ..errors import ConfigError
from .lite_transformer import LiteTransformerMixin, with_plain_attention


@MODELS.register_module()
class LiteDDQDETR(LiteTransformerMixin, DDQDETR):
    """mmdet's ``DDQDETR`` with the encoder and attention of Lite DETR.

    Takes any config of ``DDQDETR``, its dense branch and selection of distinct queries
    unchanged; see :class:`LiteTransformerMixin` for what it adds.
    """

    bbox_head_class = DDQDETRHead
    decoder_cfg: ConfigType

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if self.num_proposal_levels is not None:
            # mmdet looks the queries' content up in memory by the proposals' numbers.
            raise ConfigError(
                "LiteDDQDETR takes proposals from all levels and no num_proposal_levels"
            )

    def _init_layers(self) -> None:
        """Let mmdet build its decoder, from a config that it keeps apart."""
        self.decoder_cfg = with_plain_attention(self.decoder_cfg, "cross_attn_cfg")
        super()._init_layers()
