"""What the mixin makes a Lite detector of, and what it refuses."""

import pytest
from mmdet.models.detectors import DABDETR, DETR, DINO, ConditionalDETR, MaskRCNN
from mmdet.registry import MODELS
from mmengine.hub import get_config

from mmdet_lite.cli import read_config
from mmdet_lite.detectors import LiteTransformerMixin
from mmdet_lite.errors import ConfigError
from mmdet_lite.layers import KeyAwareDeformableAttention, LiteDetrTransformerEncoder

# One config of each kind of model and the Lite type that it takes.
FITTING = {
    "deformable_detr/deformable-detr_r50_16xb2-50e_coco.py": "LiteDeformableDETR",
    "dino/dino-4scale_r50_8xb2-12e_coco.py": "LiteDINO",
    "ddq/ddq-detr-4scale_r50_8xb2-12e_coco.py": "LiteDDQDETR",
    "grounding_dino/grounding_dino_r50_scratch_8xb2_1x_coco.py": "LiteGroundingDINO",
}
SINGLE_SCALE = {
    DETR: "detr/detr_r50_8xb2-150e_coco.py",
    ConditionalDETR: "conditional_detr/conditional-detr_r50_8xb2-50e_coco.py",
    DABDETR: "dab_detr/dab-detr_r50_8xb2-50e_coco.py",
}


def model_cfg(config, **changes):
    cfg = get_config(f"mmdet::{config}").model
    cfg.backbone.init_cfg = None
    cfg.update(changes)
    return cfg


@pytest.mark.parametrize(
    ("config", "model_type"),
    [
        (config, model_type)
        for config, fitting in FITTING.items()
        for model_type in FITTING.values()
        if model_type != fitting
    ],
)
def test_the_config_of_another_detector_is_refused_with_the_type_it_takes(
    config, model_type
):
    head = get_config(f"mmdet::{config}").model.bbox_head.type
    with pytest.raises(
        ConfigError, match=f"{head}: set model.type={FITTING[config]}$"
    ) as error:
        MODELS.build(model_cfg(config, type=model_type))
    assert str(error.value).startswith(f"{model_type} takes a config whose model.bbox_")


@pytest.mark.parametrize("model_type", FITTING.values())
@pytest.mark.parametrize("config", SINGLE_SCALE.values())
def test_the_config_of_a_single_scale_detector_is_refused_with_the_reason(
    config, model_type
):
    with pytest.raises(ConfigError, match=r"has \w*DETRHead, .* on one feature map"):
        MODELS.build(model_cfg(config, type=model_type))


@pytest.mark.parametrize("model_type", ["LiteDeformableDETR", "LiteDINO"])
@pytest.mark.parametrize("config", ["h-detr_r50", "lite-h-detr_h3l1-2p1x3_r50"])
def test_a_config_of_h_detr_is_not_taken_for_its_base(repository, model_type, config):
    """Its head is that of Deformable DETR; its hybrid branch would be dropped."""
    path = repository / "configs" / "lite_detr" / f"{config}_8xb2-36e_coco.py"
    cfg = read_config(str(path)).model
    cfg.backbone.init_cfg = None
    message = f"{model_type} has no k_one2many, .*: set model.type=LiteHDeformableDETR"
    with pytest.raises(ConfigError, match=message):
        MODELS.build({**cfg, "type": model_type})
    assert MODELS.build({**cfg, "type": "LiteHDeformableDETR"}).k_one2many == 6


def test_h_detr_is_built_from_a_config_of_its_base():
    config = "deformable_detr/deformable-detr-refine-twostage_r50_16xb2-50e_coco.py"
    model = MODELS.build(model_cfg(config, type="LiteHDeformableDETR"))
    assert model.num_one2many_queries == 1500


@pytest.mark.parametrize(
    ("config", "bbox_head"),
    [
        ("mask2former/mask2former_r50_8xb2-lsj-50e_coco.py", {}),
        (
            "mask2former/mask2former_r50_8xb2-lsj-50e_coco.py",
            {"bbox_head": [{"type": "CoATSSHead"}]},
        ),
        ("faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py", {}),
    ],
)
def test_a_config_without_one_bbox_head_is_refused_with_the_reason(config, bbox_head):
    with pytest.raises(
        ConfigError,
        match=r"has no model\.bbox_head\.type\. Supported are .*Mask2Former .*Faster",
    ):
        MODELS.build(model_cfg(config, type="LiteDINO", **bbox_head))


@pytest.mark.parametrize("detector", SINGLE_SCALE)
def test_the_mixin_refuses_a_detector_without_deformable_encoder(detector):
    lite = type(f"Lite{detector.__name__}", (LiteTransformerMixin, detector), {})
    cfg = model_cfg(SINGLE_SCALE[detector], type=lite)
    message = "the attention of its .*DetrTransformerEncoder is MultiheadAttention"
    with pytest.raises(ConfigError, match=message):
        MODELS.build(cfg)


@pytest.mark.parametrize(
    "bases", [(DINO, LiteTransformerMixin), (LiteTransformerMixin, MaskRCNN)]
)
def test_bases_that_the_mixin_would_not_change_are_refused(bases):
    with pytest.raises(TypeError, match="the bases of LiteWrong must be"):
        type("LiteWrong", bases, {})


def test_a_detector_of_ones_own_becomes_lite(small_config):
    class MyDINO(DINO):
        pass

    class LiteMyDINO(LiteTransformerMixin, MyDINO):
        pass

    cfg = small_config("mmdet::ddq/ddq-detr-4scale_r50_8xb2-12e_coco.py").model
    for name in ("dense_topk_ratio", "dqs_cfg"):
        del cfg[name]
    # Its head may be any: nothing is known of its configs.
    model = MODELS.build({**cfg, "type": LiteMyDINO})
    assert isinstance(model.encoder, LiteDetrTransformerEncoder)
    for layer in model.decoder.layers:
        assert isinstance(layer.cross_attn, KeyAwareDeformableAttention)


def test_a_head_of_ones_own_is_that_of_its_base(small_config):
    head = MODELS.get("DINOHead")
    cfg = small_config("mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py").model
    cfg.bbox_head.type = type("MyHead", (head,), {})
    model = MODELS.build({**cfg, "type": "LiteDINO"})
    assert isinstance(model.bbox_head, head)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"encoder.num_hgh_levels": 3},
            "LiteDetrTransformerEncoder has no argument num_hgh_levels; did you mean "
            "num_high_levels",
        ),
        (
            {"encoder.layer_cfg.self_attn_cfg.num_point": 3},
            "KeyAwareDeformableAttention has no argument num_point; did you mean num_p",
        ),
        ({"encoder.layer_cfg.self_attn_cfg.num_points": 0}, "num_points must be a pos"),
        ({"decoder.layer_cfg.cross_attn_cfg.num_heads": 0}, "num_heads must be a pos"),
        ({"decoder.num_layers": "6"}, "model.decoder.num_layers must be a positive"),
        ({"num_queries": 0}, "num_queries must be a positive integer, but got 0"),
        ({"num_queries": "900"}, "num_queries must be a positive integer"),
        ({"num_feature_levels": True}, "num_feature_levels must be a positive"),
        (
            {"neck.num_outs": 5},
            "number of levels: encoder has 4, decoder has 4, num_feature_levels has 4, "
            "neck has 5",
        ),
        ({"num_feature_levels": 3}, "num_feature_levels has 3"),
        ({"encoder.layer_cfg.self_attn_cfg.num_levels": 3}, "encoder has 3, decoder"),
        ({"decoder.layer_cfg.cross_attn_cfg.num_levels": 5}, "decoder has 5"),
        ({"neck.out_channels": 128}, "agree on their width: .*neck has 128"),
        ({"positional_encoding.num_feats": 64}, "positional_encoding has 128"),
        ({"bbox_head.embed_dims": 128}, "agree on their width: .*bbox_head has 128"),
        ({"encoder.layer_cfg": None}, "layer_cfg is missing"),
        ({"encoder.layer_cfg.self_attn_cfg": None}, "self_attn_cfg is missing"),
        ({"decoder.layer_cfg": None}, "model.decoder.layer_cfg is missing"),
        ({"encoder": None}, "model.encoder is missing"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(small_config, change, message):
    cfg = small_config("lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py")
    cfg.merge_from_dict({f"model.{name}": value for name, value in change.items()})
    with pytest.raises(ConfigError, match=message):
        MODELS.build(cfg.model)
