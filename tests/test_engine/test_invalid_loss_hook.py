"""A loss that is not a number is named before it reaches the weights."""

from types import SimpleNamespace

import pytest
import torch
from mmdet.models.dense_heads.grounding_dino_head import GroundingDINOHead
from mmdet.structures import DetDataSample
from mmengine.hooks import Hook

from mmdet_lite.engine import InvalidLossHook
from mmdet_lite.engine.invalid_loss_hook import InvalidLossError
from mmdet_lite.errors import ConfigError


class Spoil(Hook):
    """Changes something before iterations that are numbered from 0."""

    priority = "HIGHEST"

    def __init__(self, spoil, iterations):
        self.spoil, self.iterations = spoil, iterations

    def before_train_iter(self, runner, batch_idx, data_batch):
        if runner.iter in self.iterations:
            self.spoil(runner, data_batch)


def nan_image(runner, batch):
    batch["inputs"][1] = batch["inputs"][1].float() * torch.nan


def huge_weight(runner, batch):
    torch.nn.init.constant_(runner.model.bbox_head.bias, 1e30)


def nan_weight(runner, batch):
    torch.nn.init.constant_(runner.model.decoder[1].bias, torch.nan)


def infinite_weight(runner, batch):
    torch.nn.init.constant_(runner.model.decoder[1].bias, -torch.inf)
    torch.nn.init.constant_(runner.model.bbox_head.weight, -1.0)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (nan_image, r"iteration 2: the image \S*train_\d+.png has pixels that are not"),
        (huge_weight, r"iteration 2: loss_count is not finite; images: \S+png, \S+png"),
        (nan_weight, r"what Linear predicts is not.*were so before: decoder.1.bias"),
        (infinite_weight, r"what Linear predicts is not finite"),
    ],
)
def test_an_invalid_loss_ends_the_training(run_config, train, spoil, message):
    with pytest.raises(InvalidLossError, match=message):
        train(run_config, hooks=[Spoil(spoil, {1})])


def test_a_part_called_module_is_not_taken_for_the_model():
    model = torch.nn.Module()
    model.module = torch.nn.Module()
    model.bbox_head = torch.nn.Identity()
    hook = InvalidLossHook()
    runner = SimpleNamespace(model=model, iter=0)
    hook.before_train(runner)
    hook.before_train_iter(runner, 0, {"inputs": [], "data_samples": []})
    with pytest.raises(InvalidLossError, match="what Identity predicts"):
        model.bbox_head(torch.tensor(torch.nan))


def test_logits_of_words_that_a_text_has_not_are_minus_infinity():
    """Grounding DINO's, in every iteration; its losses leave them out."""
    head = GroundingDINOHead(
        num_classes=4,
        embed_dims=8,
        num_pred_layer=2,
        as_two_stage=True,
        contrastive_cfg={"max_text_len": 16},
        loss_cls={"type": "FocalLoss"},
        train_cfg=None,
    )
    model = torch.nn.Module()
    model.bbox_head = head
    hook = InvalidLossHook()
    runner = SimpleNamespace(model=model, iter=0)
    hook.before_train(runner)
    hook.before_train_iter(runner, 0, {"inputs": [], "data_samples": []})
    queries, boxes = torch.randn(1, 1, 5, 8), [torch.rand(1, 5, 4)] * 2
    text, is_word = torch.randn(1, 6, 8), torch.ones(1, 6, dtype=torch.bool)
    logits, _ = head(queries, boxes, text, is_word)
    assert logits.isneginf().any()
    with pytest.raises(InvalidLossError, match="GroundingDINOHead predicts is not"):
        head(queries, boxes, text * torch.nan, is_word)


def sample_of(name):
    return DetDataSample(metainfo={"img_path": name})


@pytest.mark.parametrize(
    "batch",
    [
        {
            "inputs": torch.tensor([[0.0], [torch.nan]]),
            "data_samples": [sample_of("a.jpg"), sample_of("b.jpg")],
        },
        {
            "inputs": {
                "unsup": [None, torch.full((1,), torch.nan)],
                "sup": [torch.zeros(1), None],
            },
            "data_samples": {
                "sup": [sample_of("a.jpg"), None],
                "unsup": [None, sample_of("b.jpg")],
            },
        },
    ],
    ids=["stacked", "semi-supervised"],
)
def test_images_of_any_batch_are_looked_at(batch):
    runner = SimpleNamespace(model=torch.nn.Identity(), iter=0)
    hook = InvalidLossHook()
    hook.before_train(runner)
    with pytest.raises(InvalidLossError, match=r"image b.jpg has.*: a.jpg, b.jpg$"):
        hook.before_train_iter(runner, 0, batch)


@pytest.mark.parametrize("spoil", [nan_image, huge_weight])
def test_a_batch_can_be_left_out(run_config, train, spoil):
    run_config.custom_hooks = [{"type": "InvalidLossHook", "action": "skip"}]
    before, after = {}, {}

    class Look(Hook):
        priority = "VERY_LOW"

        def before_train_epoch(self, runner):
            before.update(self.weights(runner))

        def after_train_iter(self, runner, *args, **kwargs):
            if runner.iter == 0:
                after.update(self.weights(runner))

        def weights(self, runner):
            return {n: p.detach().clone() for n, p in runner.model.named_parameters()}

    run_config.train_cfg.max_epochs = 1
    runner = train(run_config, hooks=[Spoil(spoil, {0}), Look()])
    assert runner.iter == 4
    names = {name for name, _ in runner.model.named_parameters()}
    assert before.keys() == after.keys() == names
    changed = {n for n in names if not torch.equal(before[n], after[n])}
    assert changed <= {"bbox_head.bias"}  # That is the test's doing.
    weights = runner.model.state_dict()
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_a_batch_is_left_out_beside_the_hook_of_mmdet(run_config, train):
    run_config.custom_hooks = [
        {"type": "InvalidLossHook", "action": "skip"},
        {"type": "mmdet.CheckInvalidLossHook", "interval": 1},
    ]
    runner = train(run_config, hooks=[Spoil(nan_image, {1})])
    assert runner.iter == 8


def test_gradients_that_were_accumulated_last_are_applied(run_config, train):
    run_config.custom_hooks = [{"type": "InvalidLossHook", "action": "skip"}]
    run_config.train_cfg.max_epochs = 1
    run_config.optim_wrapper.accumulative_counts = 2
    runner = train(run_config, hooks=[Spoil(nan_image, {1})])
    assert runner.iter == 4
    assert all(weight.grad is None for weight in runner.model.parameters())
    steps = {int(s["step"]) for s in runner.optim_wrapper.optimizer.state.values()}
    assert steps == {2}


def test_skipping_ends_where_nothing_else_happens(run_config, train):
    run_config.custom_hooks = [
        {"type": "InvalidLossHook", "action": "skip", "max_skipped": 3}
    ]
    with pytest.raises(InvalidLossError, match="3 batches in a row were left out"):
        train(run_config, hooks=[Spoil(nan_weight, {0})])


def test_another_action_is_refused(run_config, train):
    run_config.custom_hooks = [{"type": "InvalidLossHook", "action": "ignore"}]
    with pytest.raises(ConfigError, match="stop, skip, but is 'ignore'"):
        train(run_config)
