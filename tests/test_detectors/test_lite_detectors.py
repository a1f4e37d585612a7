"""The Lite detectors: built from any config, they train, predict and reload."""

import pytest
import torch
from mmcv.ops import MultiScaleDeformableAttention
from mmdet.models.detectors import DINO
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from repository_root import REPOSITORY

from mmdet_lite.checkpoint.attention_kind import AttentionMismatchError
from mmdet_lite.layers import KeyAwareDeformableAttention, LiteDetrTransformerEncoder
from mmdet_lite.layers.query_position import keep_official_positions

# The configs of mmdet whose backbone needs no weights, one of each kind of model.
SWAPS = [
    ("dino/dino-4scale_r50_8xb2-12e_coco.py", "LiteDINO"),
    ("dino/dino-4scale_r50_improved_8xb2-12e_coco.py", "LiteDINO"),
    ("ddq/ddq-detr-4scale_r50_8xb2-12e_coco.py", "LiteDDQDETR"),
    ("grounding_dino/grounding_dino_r50_scratch_8xb2_1x_coco.py", "LiteGroundingDINO"),
    ("deformable_detr/deformable-detr_r50_16xb2-50e_coco.py", "LiteDeformableDETR"),
    (
        "deformable_detr/deformable-detr-refine_r50_16xb2-50e_coco.py",
        "LiteDeformableDETR",
    ),
    (
        "deformable_detr/deformable-detr-refine-twostage_r50_16xb2-50e_coco.py",
        "LiteDeformableDETR",
    ),
]
CONFIGS = sorted(
    path.name for path in (REPOSITORY / "configs" / "lite_detr").glob("*.py")
)
# Read by Grounding DINO only. Texts of different length are padded.
TEXTS = [("cat", "traffic light", "dog"), ("dog", "person", "cat")]


def batch_of(model, num_items, training):
    """Two images of different size with the given numbers of objects."""
    data = demo_mm_inputs(
        2, [[3, 96, 128], [3, 80, 96]], num_items=num_items, num_classes=3
    )
    for sample, text in zip(data["data_samples"], TEXTS, strict=True):
        sample.set_metainfo({"text": text})
    return model.data_preprocessor(data, training)


def total_loss(losses):
    return sum(
        sum(value) if isinstance(value, list) else value
        for name, value in losses.items()
        if "loss" in name
    )


def parameters_without_gradient(model):
    """Names of what a training step leaves without a gradient, after that step."""
    model.init_weights()
    model.train()
    data = batch_of(model, [2, 3], training=True)
    loss = total_loss(model.loss(data["inputs"], data["data_samples"]))
    loss.backward()
    assert loss.isfinite()
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ]


@pytest.mark.parametrize(("config", "model_type"), SWAPS)
def test_changing_the_type_of_an_mmdet_config_is_enough(
    small_config, config, model_type
):
    cfg = small_config(f"mmdet::{config}")
    cfg.merge_from_dict({"model.type": model_type})
    model = MODELS.build(cfg.model)
    assert isinstance(model.encoder, LiteDetrTransformerEncoder)
    assert model.encoder.layer_kinds == "HFHFHF"
    assert model.encoder.num_high_levels == 3
    for layer in model.encoder.layers:
        assert isinstance(layer.self_attn, KeyAwareDeformableAttention)
    for layer in model.decoder.layers:
        assert isinstance(layer.cross_attn, KeyAwareDeformableAttention)

    # mmdet recomputes activations by fairscale, which is not installed everywhere.
    stock = MODELS.build(small_config(f"mmdet::{config}", num_cp=-1).model)
    # Grounding DINO of onedl-mmdetection 3.5 does not run without.
    keep_official_positions(stock.decoder)
    assert parameters_without_gradient(model) == parameters_without_gradient(stock)

    assert_predicts(model)


def assert_predicts(model):
    model.eval()
    data = batch_of(model, [2, 3], training=False)
    with torch.no_grad():
        results = model.predict(data["inputs"], data["data_samples"])
    assert len(results) == 2
    for sample in results:
        assert len(sample.pred_instances) > 0
        assert sample.pred_instances.scores.isfinite().all()
        assert sample.pred_instances.bboxes.isfinite().all()


@pytest.mark.parametrize("config", CONFIGS)
def test_every_config_trains_a_step_and_predicts(small_config, config):
    cfg = small_config(config)
    # Two levels of a small image have few tokens.
    cfg.merge_from_dict({"model.num_queries": 8, "model.test_cfg.max_per_img": 8})
    model = MODELS.build(cfg.model)
    assert parameters_without_gradient(model) == []
    assert_predicts(model)


@pytest.mark.parametrize("num_items", [[0, 0], [0, 1]])
def test_a_loss_without_ground_truth(small_config, num_items):
    model = MODELS.build(
        small_config("lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py").model
    )
    model.init_weights()
    data = batch_of(model, num_items, training=True)
    loss = total_loss(model.train().loss(data["inputs"], data["data_samples"]))
    loss.backward()
    assert loss.isfinite()


def test_initialisation_survives_that_of_mmdet(small_config):
    """mmdet's pass makes every weight of encoder and decoder xavier-uniform."""
    cfg = small_config("lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py")
    model = MODELS.build(cfg.model)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    model.init_weights()
    fresh = KeyAwareDeformableAttention(embed_dims=256)
    attentions = [
        module
        for module in model.modules()
        if isinstance(module, KeyAwareDeformableAttention)
    ]
    assert len(attentions) == 6 + 2
    for attention in attentions:
        assert torch.count_nonzero(attention.sampling_offsets.weight) == 0
        assert attention.sampling_offsets.bias.equal(fresh.sampling_offsets.bias)
        assert torch.count_nonzero(attention.query_proj.bias) == 0
        assert attention.query_proj.weight.abs().max() <= (6 / 512) ** 0.5


@pytest.mark.parametrize(("config", "model_type"), SWAPS[1:5])
def test_the_attention_of_encoder_and_decoder_can_be_switched(
    small_config, config, model_type
):
    cfg = small_config(f"mmdet::{config}")
    cfg.model.type = model_type
    plain = {"type": "MultiScaleDeformableAttention"}
    cfg.model.encoder.layer_cfg.self_attn_cfg.update(plain)
    cfg.model.decoder.layer_cfg.cross_attn_cfg.update(
        type="KeyAwareDeformableAttention", proj_key=True
    )
    model = MODELS.build(cfg.model)
    for layer in model.encoder.layers:
        assert type(layer.self_attn) is MultiScaleDeformableAttention
    for layer in model.decoder.layers:
        assert layer.cross_attn.key_proj is not None


def test_weights_of_the_other_attention_are_refused_by_name(small_config):
    stock = MODELS.build(
        small_config("mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py").model
    )
    cfg = small_config("lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py")
    lite = MODELS.build(cfg.model)
    name = r"encoder\.layers\.0\.self_attn\.attention_weights\.weight"
    with pytest.raises(AttentionMismatchError, match=f"plain.*{name}"):
        lite.load_state_dict(stock.state_dict(), strict=False)

    key_aware_weights = lite.state_dict()
    lite.load_state_dict(key_aware_weights)
    # mmdet writes into the config that it builds from.
    cfg = small_config("lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py")
    plain_type = {"type": "MultiScaleDeformableAttention"}
    cfg.model.encoder.layer_cfg.self_attn_cfg.update(plain_type)
    cfg.model.decoder.layer_cfg.cross_attn_cfg.update(plain_type)
    plain = MODELS.build(cfg.model)
    name = r"decoder\.layers\.1\.cross_attn\.query_proj\.weight"
    with pytest.raises(AttentionMismatchError, match=f"key-aware.*{name}"):
        plain.load_state_dict(key_aware_weights, strict=False)

    cfg = small_config("lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py")
    cfg.model.encoder.layer_cfg.self_attn_cfg.predict_logits = True
    cfg.model.decoder.layer_cfg.cross_attn_cfg.predict_logits = True
    predicting = MODELS.build(cfg.model)
    # It computes what either was trained for.
    predicting.load_state_dict(plain.state_dict(), strict=False)
    predicting.load_state_dict(key_aware_weights, strict=False)
    weights = predicting.state_dict()
    predicting.load_state_dict(weights)
    for model, kind in ((plain, "plain: .*query_proj"), (lite, "key-aware: ")):
        with pytest.raises(
            AttentionMismatchError, match=f"predicted logits .* attention is {kind}"
        ):
            model.load_state_dict(weights, strict=False)


def test_all_layers_of_the_decoder_keep_one_mask(small_config):
    cfg = small_config("lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py")
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).train()
    model.init_weights()
    data = batch_of(model, [2, 1], training=True)
    with torch.no_grad():
        features = model.extract_feat(data["inputs"])
        encoder_inputs, inputs = model.pre_transformer(features, data["data_samples"])
        made, _ = model.pre_decoder(
            **model.forward_encoder(**encoder_inputs),
            batch_data_samples=data["data_samples"],
        )
    inputs.update(made)
    inputs["query"] = inputs["query"].requires_grad_()
    num_queries = inputs["query"].shape[1]
    masks = set()

    def note(tensor):
        if tensor.shape[-2:] == (num_queries, num_queries):
            masks.add(tensor.untyped_storage().data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        actual = model.forward_decoder(**inputs)["hidden_states"]
    assert len(masks) == 1
    expected = DINO.forward_decoder(model, **inputs)["hidden_states"]
    assert expected.isfinite().all()
    assert actual.equal(expected)
