"""A short training on real pixels learns, and its weights reload to the same result."""

import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from repository_root import REPOSITORY

CONFIG = "lite-dino_h3l1-2p1x3_r18_1xb4-3e_digits.py"


def make_config():
    cfg = Config.fromfile(REPOSITORY / "configs" / "lite_detr" / CONFIG)
    cfg.model.num_queries = 20
    return cfg


def test_training_on_digits_lowers_the_loss_and_reloads(
    digits_root, monkeypatch, tmp_path
):
    monkeypatch.setenv("DIGITS_ROOT", str(digits_root))
    cfg = make_config()
    torch.manual_seed(0)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    batch = pseudo_collate([dataset[index] for index in range(4)])
    model = MODELS.build(cfg.model)
    model.init_weights()
    data = model.data_preprocessor(batch, training=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-4)

    losses = []
    model.train()
    for _ in range(10):
        optimizer.zero_grad()
        loss, _ = model.parse_losses(model(**data, mode="loss"))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        losses.append(loss.item())
    # Over seeds the ratio is 0.6 to 0.8.
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])

    torch.save(model.state_dict(), tmp_path / "weights.pth")
    reloaded = MODELS.build(make_config().model)
    reloaded.load_state_dict(torch.load(tmp_path / "weights.pth"))
    with torch.no_grad():
        expected = model.eval()(**data, mode="predict")
        actual = reloaded.eval()(**data, mode="predict")
    for before, after in zip(expected, actual, strict=True):
        assert before.pred_instances.bboxes.equal(after.pred_instances.bboxes)
        assert before.pred_instances.scores.equal(after.pred_instances.scores)


def test_a_step_in_bfloat16_is_finite_and_near_float32(digits_root, monkeypatch):
    monkeypatch.setenv("DIGITS_ROOT", str(digits_root))
    cfg = make_config()
    torch.manual_seed(0)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    batch = pseudo_collate([dataset[index] for index in range(2)])
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.train()
    losses = []
    for enabled in (False, True):
        torch.manual_seed(1)  # Of the noise on ground truth.
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            data = model.data_preprocessor(batch, training=True)
            loss, _ = model.parse_losses(model(**data, mode="loss"))
        loss.backward()
        losses.append(loss.item())
    assert abs(losses[1] - losses[0]) < 0.05 * losses[0]
    assert losses[1] != losses[0]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad.isfinite().all(), name
