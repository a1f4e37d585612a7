"""A converted model detects what the official model detects, for the same images."""

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from official_model import OfficialLiteDINO, with_random_weights

from mmdet_lite.checkpoint.official.conversion import (
    COCO_CATEGORY_IDS,
    convert_official,
)

PLAIN = {"type": "MultiScaleDeformableAttention"}
# Options of the official model, of the encoder's config, and whether KDA is inside.
VARIANTS = {
    "h3l1-2p1x3": ({}, {}, (True, True)),
    "h2l2-2p1x3": ({"num_high": 2}, {"num_high_levels": 2}, (True, True)),
    "h3l1-6p1x1": (
        {"kinds": "HHHHHF"},
        {"num_high_updates": 6, "num_blocks": 1},
        (True, True),
    ),
    "h3l1-3p1x2": (
        {"kinds": "HHFHHF"},
        {"num_high_updates": 3, "num_blocks": 2},
        (True, True),
    ),
    "plain": ({}, {}, (False, False)),
}


@pytest.fixture(scope="module")
def images():
    """Two images of different size; padding is on both axes of neither alone."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(3, height, width, generator=generator, dtype=torch.float64)
        for height, width in ((96, 120), (83, 128))
    ]


@pytest.fixture
def lite_config(small_config):
    """Function that makes the config of a small Lite-DINO, as of the repository."""

    def make(encoder, aware, num_classes):
        cfg = small_config("lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py", **encoder)
        cfg.model.bbox_head.num_classes = num_classes
        encoder_aware, decoder_aware = aware
        if not encoder_aware:
            cfg.model.encoder.layer_cfg.self_attn_cfg.update(PLAIN)
        if not decoder_aware:
            cfg.model.decoder.layer_cfg.cross_attn_cfg.update(PLAIN)
        return cfg.model

    return make


def detect(model, images):
    """Logits and boxes of every decoder layer, on images padded as mmdet pads them."""
    height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
    batch = torch.zeros(len(images), 3, height, width, dtype=torch.float64)
    samples = []
    for row, image in zip(batch, images, strict=True):
        row[:, : image.shape[1], : image.shape[2]] = image
        sample = DetDataSample()
        sample.set_metainfo(
            {"img_shape": image.shape[1:], "batch_input_shape": (height, width)}
        )
        samples.append(sample)
    return model(batch, samples, mode="tensor")


@torch.no_grad()
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_logits_and_boxes_are_the_official_ones(lite_config, images, variant):
    options, encoder, aware = variant
    official = with_random_weights(OfficialLiteDINO(**options, aware=aware))
    expected_logits, expected_boxes = official(images)
    model = MODELS.build(lite_config(encoder, aware, num_classes=91)).double().eval()
    converted = convert_official(official.state_dict(), keep_all_classes=True)
    model.load_state_dict(converted.state_dict)
    logits, boxes = detect(model, images)
    assert expected_logits.std() > 0.1
    torch.testing.assert_close(logits, expected_logits, rtol=0, atol=1e-11)
    torch.testing.assert_close(boxes, expected_boxes, rtol=0, atol=1e-11)


@torch.no_grad()
def test_80_classes_are_those_columns(lite_config, images):
    """Exact while no class that is left out has the best logit of a proposal."""
    official = with_random_weights(OfficialLiteDINO())
    unused = sorted(set(range(91)) - set(COCO_CATEGORY_IDS))
    official.transformer.enc_out_class_embed.bias[unused] = -50
    expected_logits, expected_boxes = official(images)
    model = MODELS.build(lite_config({}, (True, True), 80)).double().eval()
    model.load_state_dict(convert_official(official.state_dict()).state_dict)
    logits, boxes = detect(model, images)
    expected_logits = expected_logits[..., COCO_CATEGORY_IDS]
    torch.testing.assert_close(logits, expected_logits, rtol=0, atol=1e-11)
    torch.testing.assert_close(boxes, expected_boxes, rtol=0, atol=1e-11)


@torch.no_grad()
def test_the_head_of_mmdet_moves_boxes(lite_config, images):
    """What LiteDINOHead is for: references closer to 0 or 1 than a thousandth."""
    official = with_random_weights(OfficialLiteDINO())
    expected_logits, expected_boxes = official(images)
    model_cfg = lite_config({}, (True, True), num_classes=91)
    model_cfg.bbox_head.type = "DINOHead"
    model = MODELS.build(model_cfg).double().eval()
    converted = convert_official(official.state_dict(), keep_all_classes=True)
    model.load_state_dict(converted.state_dict)
    logits, boxes = detect(model, images)
    torch.testing.assert_close(logits, expected_logits, rtol=0, atol=1e-11)
    assert (boxes - expected_boxes).abs().max() > 1e-5


def test_a_neck_without_bias_does_not_take_the_weights(lite_config):
    official = with_random_weights(OfficialLiteDINO())
    model_cfg = lite_config({}, (True, True), num_classes=80)
    model_cfg.neck.bias = "auto"
    model = MODELS.build(model_cfg)
    converted = convert_official(official.state_dict())
    with pytest.raises(RuntimeError, match=r"Unexpected.*neck\.convs\.0\.conv\.bias"):
        model.load_state_dict(converted.state_dict)
