"""How a DETR of mmdet becomes its Lite variant: the encoder swapped, KDA inside."""

import inspect
from collections.abc import Collection, Sequence
from typing import Any

import torch
from mmcv.ops import MultiScaleDeformableAttention
from mmdet.models.detectors import DeformableDETR, DetectionTransformer
from mmdet.registry import MODELS
from mmdet.structures import OptSampleList
from mmdet.utils import ConfigType, OptConfigType
from torch import Tensor, nn

from ..arguments import require_count
from ..checkpoint.attention_kind import refuse_other_attention
from ..errors import ConfigError
from ..layers.interleaved_encoder import build_deformable_attention
from ..layers.level_shapes import known_level_shapes, set_level_shapes
from ..layers.query_position import keep_official_positions
from ..layers.self_attention import fuse_self_attention
from ..type_names import class_of
from .proposal_levels import ProposalLevelsMixin
from .transformer_arguments import check_transformer
from .unpadded import fill_their_batch, flatten_levels, propose_boxes

# What mmdet's own encoders and mmcv's attention take. The placeholder that mmdet builds
# gets these and no more, so that an encoder or attention may have arguments of its own.
# (Their num_cp needs fairscale.)
_FOR_MMDET_ENCODER = (
    "num_layers",
    "layer_cfg",
    "text_layer_cfg",
    "fusion_layer_cfg",
    "init_cfg",
)
_FOR_MMCV_ATTENTION = tuple(inspect.signature(MultiScaleDeformableAttention).parameters)


class LiteTransformerMixin(ProposalLevelsMixin):
    """Gives a multi-scale DETR of mmdet the encoder and attention of Lite DETR.

    Put it before the detector that it changes::

        @MODELS.register_module()
        class LiteDINO(LiteTransformerMixin, DINO): ...

    ``encoder`` then takes the arguments of
    :class:`~mmdet_lite.layers.LiteDetrTransformerEncoder`, and ``self_attn_cfg`` and
    ``cross_attn_cfg`` may name the attention's ``type``. Both are key-aware where none
    is named; ``type='MultiScaleDeformableAttention'`` restores the plain one. Of an
    image of fewer tokens than queries every token makes one, see
    :class:`~mmdet_lite.detectors.few_tokens.FewTokensMixin`, and with
    ``num_proposal_levels`` only tokens of the smaller maps do, see
    :class:`~mmdet_lite.detectors.proposal_levels.ProposalLevelsMixin`.

    Attributes:
        encoder_type (str): ``type`` of the encoder where the config names none.
        bbox_head_class (type, optional): class of ``bbox_head`` that tells a config of
            this detector from those of the others. None, the default, takes any.
        own_arguments (frozenset): arguments that only configs of this detector have,
            to tell them from those of others with the same head. Empty by default.

    Raises:
        TypeError: at the definition of a class whose detector does not come after the
            mixin, or is no ``DetectionTransformer`` of mmdet.
        ConfigError: the config is of another detector, an argument is unknown, missing
            or out of its range, the parts disagree on levels or widths, or the encoder
            that the mixin replaces is not a multi-scale deformable one.
    """

    encoder_type = "LiteDetrTransformerEncoder"
    bbox_head_class: type | None = None
    own_arguments: frozenset[str] = frozenset()
    hooks_of_mmdet: frozenset[str] = frozenset()
    # Configs first, then the modules that are built from them.
    encoder: Any
    decoder: Any

    def __init_subclass__(cls, **kwargs) -> None:
        """Refuse an order of bases that would leave the detector as it was."""
        super().__init_subclass__(**kwargs)
        mixins = LiteTransformerMixin.__mro__
        behind = cls.__mro__[cls.__mro__.index(LiteTransformerMixin) + 1 :]
        behind = tuple(base for base in behind if base not in mixins)
        if issubclass(cls, nn.Module) and DetectionTransformer not in behind:
            raise TypeError(
                f"the bases of {cls.__name__} must be LiteTransformerMixin first, then "
                "a DETR of mmdet (a DetectionTransformer), as in "
                "class LiteDINO(LiteTransformerMixin, DINO)"
            )
        cls.hooks_of_mmdet = frozenset(
            name
            for name in ("pre_transformer", "gen_encoder_output_proposals")
            if _inherited(behind, name) is getattr(DeformableDETR, name)
        )

    def __init__(self, *args, bbox_head: OptConfigType = None, **kwargs) -> None:
        self._refuse_config_of_another(bbox_head, kwargs.keys())
        for name in ("num_queries", "num_feature_levels"):
            if name in kwargs:
                require_count(name, kwargs[name])
        if self.bbox_head_class is not None:
            check_transformer(self.encoder_type, bbox_head=bbox_head, **kwargs)
        super().__init__(*args, bbox_head=bbox_head, **kwargs)

    def _refuse_config_of_another(
        self, bbox_head: OptConfigType, arguments: Collection[str]
    ) -> None:
        """Name the type that fits a config, where mmdet would stumble over its keys."""
        if self.bbox_head_class is None:
            return
        wanted = (
            f"{type(self).__name__} takes a config whose model.bbox_head.type is "
            f"{self.bbox_head_class.__name__}"
        )
        if not isinstance(bbox_head, dict) or "type" not in bbox_head:
            raise ConfigError(
                f"{wanted}, but this one has no model.bbox_head.type. Supported are "
                "DETRs of one box head on a multi-scale deformable encoder of their "
                "own. Mask2Former has its encoder inside the segmentation head, "
                "Co-DETR several box heads, and Faster R-CNN and its like no encoder "
                "to interleave"
            )
        head = class_of(bbox_head, MODELS)
        if head is None:
            return  # mmdet says that it is not registered.
        fitting = _fitting_type(head, arguments)
        if fitting is None:
            raise ConfigError(
                f"{wanted}, but this one has {head.__name__}, which no Lite detector "
                "takes: they need an encoder of multi-scale deformable attention. That "
                "of DETR, Conditional DETR and DAB-DETR is ordinary attention on one "
                "feature map, with nothing to interleave"
            )
        if fitting.own_arguments and not self.own_arguments:
            named = ", ".join(sorted(fitting.own_arguments & set(arguments)))
            raise ConfigError(
                f"{type(self).__name__} has no {named}, which this config sets: set "
                f"model.type={fitting.__name__}"
            )
        if fitting.bbox_head_class is not self.bbox_head_class:
            raise ConfigError(
                f"{wanted}, but this one has {head.__name__}: set "
                f"model.type={fitting.__name__}"
            )

    def _init_layers(self) -> None:
        """Let mmdet build the transformer, then replace encoder and cross-attention.

        mmdet's hook names its classes in code. It gets a one-layer encoder to read the
        width from, and a decoder whose cross-attention is replaced right after.
        """
        encoder_cfg, decoder_cfg = self.encoder, self.decoder
        placeholder_cfg = {
            name: value
            for name, value in with_plain_attention(
                encoder_cfg, "self_attn_cfg"
            ).items()
            if name in _FOR_MMDET_ENCODER
        }
        self.encoder = {**placeholder_cfg, "num_layers": 1}
        self.decoder = with_plain_attention(decoder_cfg, "cross_attn_cfg")
        super()._init_layers()
        self._refuse_other_encoder()
        self.encoder = MODELS.build({"type": self.encoder_type, **encoder_cfg})
        for layer in self.decoder.layers:
            layer.cross_attn = build_deformable_attention(
                {"batch_first": True, **decoder_cfg["layer_cfg"]["cross_attn_cfg"]}
            )
        keep_official_positions(self.decoder)
        fuse_self_attention(self.decoder)
        self.register_load_state_dict_pre_hook(refuse_other_attention)

    def _refuse_other_encoder(self) -> None:
        attention = self.encoder.layers[0].self_attn
        if not isinstance(attention, MultiScaleDeformableAttention):
            raise ConfigError(
                f"{type(self).__name__} has no encoder to interleave: "
                "LiteTransformerMixin needs a detector whose encoder is multi-scale "
                f"deformable, but the attention of its {type(self.encoder).__name__} "
                f"is {type(attention).__name__}, which knows no feature levels"
            )

    def forward_transformer(
        self, img_feats: tuple[Tensor, ...], *args, **kwargs
    ) -> dict:
        """Run the transformer as mmdet does, the levels' sizes known as numbers.

        mmdet reads them out of a tensor wherever it needs a number, and each time a GPU
        has to finish first and a graph that is being captured breaks. The hooks in
        between get that tensor all the same.

        Args:
            img_feats: for each level (batch, embed_dims, height, width).
            *args: as mmdet's hook, with **kwargs.

        Returns:
            dict: what the head takes.
        """
        set_level_shapes([(feat.shape[2], feat.shape[3]) for feat in img_feats])
        try:
            return super().forward_transformer(img_feats, *args, **kwargs)
        finally:
            set_level_shapes(None)

    def pre_transformer(
        self,
        mlvl_feats: tuple[Tensor, ...],
        batch_data_samples: OptSampleList = None,
    ) -> tuple[dict, dict]:
        """Flatten the maps as mmdet does, in a way that can be captured in a graph.

        Where images are padded, a graph that is being captured still breaks here.

        Args:
            mlvl_feats: for each level (batch, embed_dims, height, width).
            batch_data_samples: the images' meta information.

        Returns:
            tuple: keyword arguments of :meth:`forward_encoder`, and those of
            :meth:`forward_decoder` that are known already.
        """
        if (
            (torch.compiler.is_compiling() or mlvl_feats[0].is_cuda)
            and not torch.jit.is_tracing()
            and "pre_transformer" in self.hooks_of_mmdet
            and fill_their_batch(batch_data_samples)
        ):
            return flatten_levels(
                mlvl_feats, self.positional_encoding, self.level_embed
            )
        return super().pre_transformer(mlvl_feats, batch_data_samples)

    def gen_encoder_output_proposals(
        self, memory: Tensor, memory_mask: Tensor | None, spatial_shapes: Any
    ) -> tuple[Tensor, Tensor]:
        """Propose boxes as mmdet does; see :meth:`forward_transformer`.

        Args:
            memory: (batch, num_tokens, embed_dims).
            memory_mask: (batch, num_tokens), True where a token is padding, or None.
            spatial_shapes: (num_levels, 2), (height, width).

        Returns:
            tuple: projected memory (batch, num_proposals, embed_dims) and proposals
            (batch, num_proposals, 4) before the sigmoid.
        """
        level_shapes = known_level_shapes()
        if (
            memory_mask is None
            and level_shapes
            and "gen_encoder_output_proposals" in self.hooks_of_mmdet
        ):
            memory, proposals = self._of_proposal_levels(
                *propose_boxes(memory, level_shapes), level_shapes
            )
            return self.memory_trans_norm(self.memory_trans_fc(memory)), proposals
        return super().gen_encoder_output_proposals(
            memory, memory_mask, level_shapes or spatial_shapes
        )

    def _num_passed_over(self, spatial_shapes: Sequence) -> int:
        return super()._num_passed_over(known_level_shapes() or spatial_shapes)


def _inherited(classes: Sequence[type], name: str) -> Any:
    """What a class that comes after the mixin calls by a name."""
    return next((vars(cls)[name] for cls in classes if name in vars(cls)), None)


def _fitting_type(
    head: type, arguments: Collection[str]
) -> type[LiteTransformerMixin] | None:
    """The Lite detector that takes a config with this head and these arguments."""
    lite_types = LiteTransformerMixin.__subclasses__()
    for base in head.__mro__:
        takers = [lite for lite in lite_types if lite.bbox_head_class is base]
        for lite in takers:
            if lite.own_arguments & set(arguments):
                return lite
        for lite in takers:
            if not lite.own_arguments:
                return lite
    return None


def with_plain_attention(coder_cfg: ConfigType, attention: str) -> dict:
    """Leave out what mmcv's ``MultiScaleDeformableAttention`` does not take.

    Args:
        coder_cfg (dict): config of an encoder or decoder; left as it is.
        attention (str): name of an attention's config in its ``layer_cfg``.

    Returns:
        dict: a copy, which mmdet's own encoder or decoder can build.
    """
    layer_cfg = coder_cfg["layer_cfg"]
    attention_cfg = {
        name: value
        for name, value in layer_cfg[attention].items()
        if name in _FOR_MMCV_ATTENTION
    }
    return {**coder_cfg, "layer_cfg": {**layer_cfg, attention: attention_cfg}}
