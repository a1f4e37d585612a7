"""Images of fewer tokens than queries: as many queries as there are tokens."""

import pytest
import torch
from mmdet.registry import MODELS
from one_class_batch import batch_of

CONFIGS = {
    "LiteDINO": "lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py",
    "LiteDDQDETR": "mmdet::ddq/ddq-detr-4scale_r50_8xb2-12e_coco.py",
    "LiteGroundingDINO": (
        "mmdet::grounding_dino/grounding_dino_r50_scratch_8xb2_1x_coco.py"
    ),
    "LiteDeformableDETR": (
        "mmdet::deformable_detr/deformable-detr-refine-twostage_r50_16xb2-50e_coco.py"
    ),
    "LiteHDeformableDETR": "lite-h-detr_h3l1-2p1x3_r50_8xb2-36e_coco.py",
    "HDeformableDETR": "h-detr_r50_8xb2-36e_coco.py",
}
MANY = 900


@pytest.fixture(scope="module", params=CONFIGS)
def model(request, small_config):
    cfg = small_config(CONFIGS[request.param])
    cfg.model.type = request.param
    cfg.model.num_queries = MANY
    cfg.model.test_cfg.max_per_img = 300
    if "contrastive_cfg" not in cfg.model.bbox_head:
        cfg.model.bbox_head.num_classes = 1
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model


@torch.no_grad()
def test_only_a_prediction_limits_its_detections(model):
    before = model.bbox_head.test_cfg
    model.eval()
    data = batch_of(model, [(96, 96)], training=False)
    feats = model.extract_feat(data["inputs"])
    if not hasattr(model, "language_model"):
        model.forward_transformer(feats, data["data_samples"])
        assert model.bbox_head.test_cfg is before
    model.predict(data["inputs"], data["data_samples"])
    assert model.bbox_head.test_cfg is before


def num_tokens_of(shape):
    """Of the maps of strides 8 to 64 of an image."""
    sides = [[-(-side // stride) for stride in (8, 16, 32, 64)] for side in shape]
    return sum(height * width for height, width in zip(*sides, strict=True))


@pytest.mark.parametrize(
    "shapes",
    [[(96, 96)], [(32, 32)], [(96, 96), (32, 64)], [(640, 32)]],
    ids=["96", "one of 32", "padded", "long"],
)
def test_every_token_makes_a_query(model, shapes):
    height, width = (max(sides) for sides in zip(*shapes, strict=True))
    num_tokens = num_tokens_of((height, width))
    assert num_tokens < MANY
    model.eval()
    data = batch_of(model, shapes, training=False)
    with torch.no_grad():
        results = model.predict(data["inputs"], data["data_samples"])
    for result in results:
        found = result.pred_instances
        assert 0 < len(found) <= min(num_tokens, 300)
        assert found.bboxes.isfinite().all()
        assert found.scores.isfinite().all()
    # What was changed for this batch is as it was for the next.
    assert model.num_queries == MANY
    assert model.bbox_head.test_cfg["max_per_img"] == 300


@pytest.mark.parametrize("shapes", [[(96, 96), (64, 96)], [(32, 32)]])
def test_a_training_step_goes_through(model, shapes):
    model.train()
    model.zero_grad()
    data = batch_of(model, shapes, training=True)
    losses = model.loss(data["inputs"], data["data_samples"])
    total = sum(
        sum(value) if isinstance(value, list) else value
        for name, value in losses.items()
        if "loss" in name
    )
    total.backward()
    assert total.isfinite()
    assert model.encoder.layers[0].self_attn.value_proj.weight.grad.isfinite().all()
    if hasattr(model, "dn_query_generator"):
        assert model.dn_query_generator.num_matching_queries == MANY
