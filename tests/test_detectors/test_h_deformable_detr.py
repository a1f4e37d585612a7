"""H-DETR: two groups of queries in training, of which only the first remains."""

import copy

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures.bbox import (
    bbox_cxcywh_to_xyxy,
    bbox_overlaps,
    bbox_xyxy_to_cxcywh,
)
from mmdet.testing import demo_mm_inputs
from mmengine.structures import InstanceData
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

from mmdet_lite.errors import ConfigError
from mmdet_lite.layers import KeyAwareDeformableAttention, LiteDetrTransformerEncoder

HYBRID = "h-detr_r50_8xb2-36e_coco.py"
LITE = "lite-h-detr_h3l1-2p1x3_r50_8xb2-36e_coco.py"
NUM_ONE2ONE = 20
NUM_ONE2MANY = 30
NUM_CLASSES = 3
ONE2ONE, ONE2MANY = slice(0, NUM_ONE2ONE), slice(NUM_ONE2ONE, None)


@pytest.fixture
def build(small_config):
    """Function that builds a small H-DETR whose boxes differ from the proposals."""

    def build_model(config=HYBRID, **settings):
        one_block = {"num_blocks": 1} if config == LITE else {}
        cfg = small_config(config, num_layers=2, **one_block)
        cfg.model.num_one2many_queries = NUM_ONE2MANY
        cfg.model.bbox_head.num_classes = NUM_CLASSES
        cfg.model.test_cfg.max_per_img = NUM_ONE2ONE
        cfg.merge_from_dict(
            {f"model.{name}": value for name, value in settings.items()}
        )
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
        model.init_weights()
        for branch in model.bbox_head.reg_branches:
            # mmdet initialises this layer as zero.
            torch.nn.init.normal_(branch[-1].weight, std=0.1)
        return model

    return build_model


def batch_of(model, num_items=(2, 3), training=True):
    """Two images of different size, so that one is padded."""
    model.train(training)
    data = demo_mm_inputs(
        2,
        [[3, 96, 128], [3, 80, 96]],
        num_items=list(num_items),
        num_classes=NUM_CLASSES,
    )
    return model.data_preprocessor(data, training)


def encode_and_decode(model, data):
    """What the transformer hands to the head."""
    return model.forward_transformer(
        model.extract_feat(data["inputs"]), data["data_samples"]
    )


def predictions_of(model, data):
    with torch.no_grad():
        results = model.eval()(**copy.deepcopy(data), mode="predict")
    return [sample.pred_instances for sample in results]


def assert_same_predictions(actual, expected):
    for one, other in zip(actual, expected, strict=True):
        for name in ("bboxes", "scores", "labels"):
            assert one[name].equal(other[name])


def test_predictions_do_not_depend_on_the_one2many_queries(build):
    model = build()
    data = batch_of(model, training=False)
    expected = predictions_of(model, data)
    with torch.no_grad():
        model.query_embedding.weight[ONE2MANY].normal_(std=10)
    assert_same_predictions(predictions_of(model, data), expected)

    plain = build(num_one2many_queries=0)
    weights = model.state_dict()
    weights["query_embedding.weight"] = weights["query_embedding.weight"][ONE2ONE]
    plain.load_state_dict(weights)
    assert_same_predictions(predictions_of(plain, data), expected)

    with torch.no_grad():
        model.query_embedding.weight[ONE2ONE].normal_(std=10)
    changed = predictions_of(model, data)
    assert not changed[0].scores.equal(expected[0].scores)


def test_raw_output_has_the_queries_of_the_mode(build):
    model = build()
    for training, num_queries in ((True, NUM_ONE2ONE + NUM_ONE2MANY), (False, 20)):
        data = batch_of(model, training=training)
        with torch.no_grad():
            logits, boxes = model(**data, mode="tensor")
        assert logits.shape == (2, 2, num_queries, NUM_CLASSES)
        assert boxes.shape == (2, 2, num_queries, 4)


@pytest.mark.parametrize(
    ("perturbed", "other"), [(ONE2MANY, ONE2ONE), (ONE2ONE, ONE2MANY)]
)
def test_the_mask_keeps_the_groups_apart(build, monkeypatch, perturbed, other):
    model = build()
    data = batch_of(model)
    content = model.query_embedding.weight.detach().clone()

    @torch.no_grad()
    def outputs_before_and_after():
        model.query_embedding.weight.copy_(content)
        before = model(**data, mode="tensor")
        model.query_embedding.weight[perturbed] += 1
        return zip(before, model(**data, mode="tensor"), strict=True)

    for before, after in outputs_before_and_after():
        assert after[:, :, other].equal(before[:, :, other])
        assert not after[:, :, perturbed].isclose(before[:, :, perturbed]).all()

    monkeypatch.setattr(model, "_group_mask", lambda *args: None)
    for before, after in outputs_before_and_after():
        assert not after[:, :, other].isclose(before[:, :, other]).all()


def test_the_best_proposals_seed_the_queries_in_order(build):
    model = build()
    data = batch_of(model)
    with torch.no_grad():
        head_inputs = encode_and_decode(model, data)
        first_references = head_inputs["references"][0]
        logits = head_inputs["enc_outputs_class"]
        ranking = logits[..., 0].argsort(dim=1, descending=True)
        assert not ranking.equal(logits.amax(-1).argsort(dim=1, descending=True))
        best = torch.take_along_dim(
            head_inputs["enc_outputs_coord"], ranking[..., None], dim=1
        )
        at_inference = encode_and_decode(model.eval(), data)["references"][0]
    torch.testing.assert_close(first_references, best[:, : NUM_ONE2ONE + NUM_ONE2MANY])
    torch.testing.assert_close(at_inference, best[:, ONE2ONE])


def test_content_is_learned_and_position_comes_from_the_proposals(build):
    model = build()
    seen = []
    model.decoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs), with_kwargs=True
    )
    with torch.no_grad():
        encode_and_decode(model, batch_of(model))
    query, position = seen[0]["query"], seen[0]["query_pos"]
    assert query.equal(model.query_embedding.weight.expand(2, -1, -1))
    assert not position[0].isclose(position[1]).all()


def matched_losses(model, logits, boxes, data_samples, repeats=1, foreground=False):
    """Focal, L1 and GIoU loss of one layer, image by image, as DETR defines them."""
    totals = torch.zeros(3)
    num_positives = 0
    for logit, box, sample in zip(logits, boxes, data_samples, strict=True):
        height, width = sample.img_shape
        scale = torch.tensor([width, height, width, height])
        corners = bbox_cxcywh_to_xyxy(box) * scale
        gt_bboxes = sample.gt_instances.bboxes.repeat(repeats, 1)
        gt_labels = sample.gt_instances.labels.repeat(repeats)
        if foreground:
            gt_labels = torch.zeros_like(gt_labels)
        matched = model.bbox_head.assigner.assign(
            InstanceData(scores=logit, bboxes=corners),
            InstanceData(bboxes=gt_bboxes, labels=gt_labels),
            sample.metainfo,
        ).gt_inds
        positive, target = matched > 0, matched[matched > 0] - 1
        assert len(target) == len(gt_bboxes)
        num_positives += len(target)

        wanted = torch.zeros_like(logit)
        wanted[positive] = one_hot(gt_labels[target], NUM_CLASSES).float()
        error = (logit.sigmoid() - wanted).abs()
        balance = 0.25 * wanted + 0.75 * (1 - wanted)
        entropy = binary_cross_entropy_with_logits(logit, wanted, reduction="none")
        totals[0] += 2 * (balance * error**2 * entropy).sum()
        gt_centres = bbox_xyxy_to_cxcywh(gt_bboxes[target] / scale)
        totals[1] += 5 * (box[positive] - gt_centres).abs().sum()
        giou = bbox_overlaps(
            corners[positive], gt_bboxes[target], mode="giou", is_aligned=True
        )
        totals[2] += 2 * (1 - giou).sum()
    names = ("loss_cls", "loss_bbox", "loss_iou")
    return dict(zip(names, totals / max(num_positives, 1), strict=True))


@pytest.mark.parametrize(("repeats", "weight"), [(1, 1.0), (4, 0.5), (2, 0.0)])
def test_the_second_group_learns_from_every_object_k_times(build, repeats, weight):
    model = build(k_one2many=repeats, lambda_one2many=weight)
    data = batch_of(model, num_items=(1, 5))
    with torch.no_grad():
        actual = model(**data, mode="loss")
        logits, boxes = model(**data, mode="tensor")
        proposals = encode_and_decode(model, data)
        samples = data["data_samples"]
        expected = {}
        for layer, prefix in enumerate(("d0.", "")):
            for group, repeated, factor, suffix in (
                (ONE2ONE, 1, 1, ""),
                (ONE2MANY, repeats, weight, "_one2many"),
            ):
                losses = matched_losses(
                    model,
                    logits[layer][:, group],
                    boxes[layer][:, group],
                    samples,
                    repeated,
                )
                for name, loss in losses.items():
                    expected[prefix + name + suffix] = factor * loss
        losses = matched_losses(
            model,
            proposals["enc_outputs_class"],
            proposals["enc_outputs_coord"],
            samples,
            foreground=True,
        )
        expected.update({f"enc_{name}": loss for name, loss in losses.items()})
    # mmdet's classification loss keeps a dimension of one.
    actual = {name: loss.sum() for name, loss in actual.items()}
    torch.testing.assert_close(actual, expected)


def test_without_one2many_queries_there_is_no_hybrid_branch(build):
    model = build(num_one2many_queries=0)
    losses = model(**batch_of(model), mode="loss")
    assert losses.keys() == {
        prefix + name
        for prefix in ("", "d0.", "enc_")
        for name in ("loss_cls", "loss_bbox", "loss_iou")
    }


def test_ground_truth_is_left_as_it_was(build):
    model = build()
    data = batch_of(model)
    before = copy.deepcopy(data["data_samples"])
    model(**data, mode="loss")
    for sample, copied in zip(data["data_samples"], before, strict=True):
        assert sample.gt_instances.bboxes.equal(copied.gt_instances.bboxes)
        assert sample.gt_instances.labels.equal(copied.gt_instances.labels)


def test_a_layer_trains_its_box_branch_and_the_one_before(build):
    model = build(**{"decoder.num_layers": 3})
    head_inputs = encode_and_decode(model, batch_of(model))
    states, references = head_inputs["hidden_states"], head_inputs["references"]
    branches = [branch[-1].weight for branch in model.bbox_head.reg_branches[:3]]

    def trained_by_last_layer(references):
        _, boxes = model.bbox_head(states, references)
        gradients = torch.autograd.grad(boxes[2].sum(), branches, retain_graph=True)
        return [gradient.abs().max() > 0 for gradient in gradients]

    assert trained_by_last_layer(references) == [False, True, True]
    cut = [reference.detach() for reference in references]
    assert trained_by_last_layer(cut) == [False, False, True]


def test_looking_forward_twice_changes_no_reference(build):
    model = build()
    data = batch_of(model)
    decoded = []
    model.decoder.register_forward_hook(
        lambda module, args, output: decoded.extend(output[1])
    )
    with torch.no_grad():
        references = encode_and_decode(model, data)["references"]
    assert len(decoded) == 2
    for reference, expected in zip(references[1:], decoded, strict=True):
        assert reference.equal(expected)


@pytest.mark.parametrize("config", [HYBRID, LITE])
@pytest.mark.parametrize("num_items", [(2, 3), (0, 1), (0, 0)])
def test_a_training_step_reaches_every_parameter(build, config, num_items):
    model = build(config)
    loss, _ = model.parse_losses(model(**batch_of(model, num_items), mode="loss"))
    loss.backward()
    without_gradient = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ]
    assert without_gradient == []
    assert loss.isfinite()
    assert all(
        parameter.grad.isfinite().all()
        for parameter in model.parameters()
        if parameter.requires_grad
    )
    assert model.query_embedding.weight.grad.abs().amax(dim=1).min() > 0
    for instances in predictions_of(model, batch_of(model, training=False)):
        assert len(instances) > 0
        assert instances.scores.isfinite().all()
        assert instances.bboxes.isfinite().all()


@pytest.mark.parametrize("config", [HYBRID, LITE])
def test_mixed_precision_trains_and_predicts(build, config):
    model = build(config)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = model.parse_losses(model(**batch_of(model), mode="loss"))
        predictions = predictions_of(model, batch_of(model, training=False))
    loss.backward()
    assert loss.isfinite()
    assert all(instances.scores.isfinite().all() for instances in predictions)


def test_the_lite_variant_has_encoder_and_attention_of_lite_detr(build):
    model = build(LITE)
    assert isinstance(model.encoder, LiteDetrTransformerEncoder)
    for layer in model.decoder.layers:
        assert isinstance(layer.cross_attn, KeyAwareDeformableAttention)


@pytest.mark.parametrize("training", [True, False])
def test_of_few_tokens_the_one_to_one_group_has_the_best(build, training):
    # 96x128 pixels give 12*16 + 6*8 + 3*4 + 2*2 tokens.
    model = build(num_queries=250).train(training)
    data = batch_of(model, training=training)
    head_inputs = model.forward_transformer(
        model.extract_feat(data["inputs"]), data["data_samples"]
    )
    num_queries = head_inputs["hidden_states"].shape[2]
    assert num_queries == (256 if training else 250)
    if training:
        losses = model(**data, mode="loss")
        assert all(loss.isfinite().all() for loss in losses.values())
        assert "loss_cls_one2many" in losses
        # With as many tokens as one-to-one queries none are left for the others.
        model = build(num_queries=300).train()
        losses = model(**data, mode="loss")
        assert not any(name.endswith("_one2many") for name in losses)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("num_queries", 0),
        ("num_queries", 300.0),
        ("num_one2many_queries", -1),
        ("k_one2many", 0),
        ("k_one2many", "6"),
        ("lambda_one2many", True),
        ("lambda_one2many", -0.5),
        ("lambda_one2many", float("nan")),
        ("lambda_one2many", None),
        ("with_box_refine", False),
        ("as_two_stage", False),
    ],
)
def test_bad_arguments_are_named(build, setting, value):
    with pytest.raises(ConfigError, match=f"{setting}.*{value}"):
        build(**{setting: value})
