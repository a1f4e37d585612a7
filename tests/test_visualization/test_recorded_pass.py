"""What a detector did with an image is found in the image as it was read."""

import numpy as np
import pytest
import torch
from mmcv.ops import MultiScaleDeformableAttention
from mmdet.registry import MODELS
from torch import nn

from mmdet_lite.errors import ConfigError
from mmdet_lite.visualization import (
    detection_panel,
    record_pass,
    summarise_attention,
    token_panel,
)

# Landscape and portrait, resized by 1.2 and 2, then padded to multiples of 64 to the
# right and below: by none of it do the sides keep their proportion.
SHAPES = [(90, 160), (80, 40)]


def build(small_config, divisor, config="lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py"):
    torch.manual_seed(0)
    cfg = small_config(config)
    cfg.model.data_preprocessor.pad_size_divisor = divisor
    cfg.test_dataloader.dataset.pipeline[1].scale = (192, 160)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.cfg = cfg
    model.dataset_meta = {"classes": [f"class {n}" for n in range(80)]}
    return model.eval()


@pytest.fixture(scope="module")
def detector(small_config):
    """A Lite-DINO of random weights, for images padded to multiples of 64."""
    return build(small_config, divisor=64)


@pytest.fixture(scope="module")
def still_detector(small_config):
    """The same with attentions that sample at their reference points."""
    model = build(small_config, divisor=64)
    for module in model.modules():
        if isinstance(module, MultiScaleDeformableAttention):
            nn.init.zeros_(module.sampling_offsets.weight)
            nn.init.zeros_(module.sampling_offsets.bias)
    return model


def noise(height, width):
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def seen(detector):
    """A noisy landscape through the detector."""
    return record_pass(detector, noise(*SHAPES[0]))


def test_the_image_was_resized_and_padded(seen):
    frame = seen.frame
    assert frame.original_shape == (90, 160)
    assert frame.resized_shape == (108, 192)
    assert frame.padded_shape == (128, 192)
    shapes = seen.record("encoder.1").spatial_shapes
    assert shapes.tolist() == [[16, 24], [8, 12], [4, 6], [2, 3]]
    assert frame.strides(shapes) == [8, 16, 32, 64]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("divisor", [1, 64])
def test_a_dot_changes_the_token_at_its_place(detector, monkeypatch, shape, divisor):
    """The place on the map is what the backbone makes of it, no rule of ours."""
    monkeypatch.setattr(detector.data_preprocessor, "pad_size_divisor", divisor)
    height, width = shape
    before = record_pass(detector, np.zeros((*shape, 3), dtype=np.uint8))
    padded = before.frame.padded_shape != before.frame.resized_shape
    assert padded == (divisor == 64)
    of_stride = before.query_strides("encoder.1") == 8
    for x, y in ((0.15 * width, 0.2 * height), (0.85 * width, 0.8 * height)):
        image = np.zeros((*shape, 3), dtype=np.uint8)
        image[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2] = 255
        after = record_pass(detector, image)
        # The first F layer: its low tokens are what came from the backbone.
        old, new = (seen.record("encoder.1").identity[0] for seen in (before, after))
        change = (new - old).norm(dim=-1).masked_fill(~of_stride, 0)
        found = after.reference_pixels("encoder.1")[change.argmax()]
        # Strided convolutions look half a cell up and left of a token's middle, which
        # the dot misses by another half; a wrong rule is two cells off and more.
        cell = 8 / torch.tensor(after.frame.scale_factor)
        assert ((found - torch.tensor([x, y])).abs() <= 1.5 * cell).all(), (x, y, found)


@pytest.mark.parametrize("shape", SHAPES)
def test_attention_without_offsets_is_drawn_at_its_query(still_detector, shape):
    seen = record_pass(still_detector, noise(*shape))
    height, width = shape
    for layer, strides in (("encoder.0", (16, 32)), ("encoder.1", (8, 16, 32))):
        for stride in strides:
            # Padding shortens the valid part of a map by less than half a cell.
            cell = stride / np.array(seen.frame.scale_factor)
            for pixel in ((0, 0), (width / 3, height / 2), (width - 1, height - 1)):
                panel = token_panel(seen, layer, pixel, stride)
                assert panel.samples.shape == (8, 4, 4, 2)
                samples = panel.samples.reshape(-1, 2)
                still = np.broadcast_to(panel.reference, samples.shape)
                np.testing.assert_allclose(samples, still, atol=1e-3)
                assert (np.abs(samples - pixel) <= cell).all()
                left, top, right, bottom = panel.box
                centre = [(left + right) / 2, (top + bottom) / 2]
                np.testing.assert_allclose(centre, panel.reference, atol=1e-3)
                np.testing.assert_allclose([right - left, bottom - top], cell)
    for rank in range(5):
        panel = detection_panel(seen, "decoder.0", rank)
        samples = panel.samples.reshape(-1, 2)
        still = np.broadcast_to(panel.reference, samples.shape)
        np.testing.assert_allclose(samples, still, atol=1e-3)
        # Untrained branches correct nothing: the box is the one that was sampled at.
        left, top, right, bottom = panel.box
        if left > 0 and top > 0 and right < width and bottom < height:
            centre = [(left + right) / 2, (top + bottom) / 2]
            np.testing.assert_allclose(centre, panel.reference, atol=1e-2)
    for row in summarise_attention(seen, "encoder.1"):
        assert row["mean_distance"] == pytest.approx(0, abs=1e-3)


def test_a_detection_knows_its_query(detector, seen):
    head, outputs = detector.bbox_head, []
    handle = head.register_forward_hook(lambda *call: outputs.append(call[-1]))
    again = record_pass(detector, seen.image)
    handle.remove()
    logits, boxes = (output[-1][0] for output in outputs[0])
    found = again.detections
    assert len(found) > 1
    assert len(set(found.queries.tolist())) == len(found)
    assert (found.scores.diff() <= 0).all()
    scores = logits[found.queries].sigmoid()
    torch.testing.assert_close(scores.amax(-1), found.scores)
    assert torch.equal(scores.argmax(-1), found.labels)
    centre, size = boxes[found.queries].split(2, dim=-1)
    whole = torch.tensor([160.0, 90.0])
    low, high = (
        ((centre + sign * size / 2) * whole).clamp(torch.zeros(2), whole)
        for sign in (-1, 1)
    )
    torch.testing.assert_close(
        torch.cat([low, high], -1), found.bboxes, atol=1e-3, rtol=0
    )


@pytest.mark.parametrize(
    ("config", "queries_at_points"),
    [
        ("mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py", True),
        ("mmdet::ddq/ddq-detr-4scale_r50_8xb2-12e_coco.py", False),
        ("lite-h-detr_h3l1-2p1x3_r50_8xb2-36e_coco.py", False),
    ],
)
def test_other_detectors_are_recorded_too(small_config, config, queries_at_points):
    seen = record_pass(build(small_config, 64, config), noise(*SHAPES[0]))
    references = seen.record("decoder.0").reference_points
    assert (references.shape[-1] == 2) == queries_at_points
    found = seen.detections
    assert len(set(found.queries.tolist())) == len(found) > 0
    panel = detection_panel(seen, "decoder.0", 0)
    np.testing.assert_allclose(panel.weights.sum((1, 2)), 1, rtol=1e-5)
    token_panel(seen, "encoder.0", (80, 45))


def test_layers_are_named_with_their_kind(seen):
    layers = [seen.describe(layer) for layer in seen.records]
    kinds = "HFHFHF"
    encoder = [f"encoder layer {n} ({kind})" for n, kind in enumerate(kinds)]
    assert layers == [*encoder, "decoder layer 0", "decoder layer 1"]


def test_queries_of_an_h_layer_are_high_tokens(seen):
    assert set(seen.query_strides("encoder.0").tolist()) == {16, 32, 64}
    strides = seen.query_strides("encoder.1")
    assert set(strides.tolist()) == {8, 16, 32, 64}
    # A token has its place on the grid of its map, to the padding's end.
    places = seen.reference_pixels("encoder.0")[:12]
    cell = 16 / 1.2
    expected = torch.arange(12) * cell + cell / 2
    torch.testing.assert_close(places[:, 0], expected, atol=1e-2, rtol=0)


def test_nothing_hooked_is_left(detector, seen):
    assert not any(module._forward_hooks for module in detector.modules())


def test_a_detector_of_text_is_refused(detector):
    detector.language_model = nn.Identity()
    try:
        with pytest.raises(ConfigError, match="LiteDINO reads text"):
            record_pass(detector, noise(90, 160))
    finally:
        del detector.language_model
