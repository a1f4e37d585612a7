"""--epochs changes how long a config trains, and its schedule in proportion."""

from itertools import accumulate

import pytest
import torch
from mmdet.registry import PARAM_SCHEDULERS

from mmdet_lite.cli import set_epochs
from mmdet_lite.errors import ConfigError

COCO = "lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py"


def test_the_learning_rate_goes_along_with_the_epochs(read):
    cfg = read()
    set_epochs(cfg, 20)
    assert cfg.train_cfg.max_epochs == 20
    warm_up, cosine = cfg.param_scheduler
    assert warm_up.end == 50
    assert (cosine.end, cosine.T_max) == (20, 20)
    cfg = read(COCO)
    set_epochs(cfg, 12)
    (steps,) = cfg.param_scheduler
    assert (steps.end, steps.milestones) == (12, [10])


def rates(cfg, iterations):
    """The learning rate of each iteration, as the config's schedulers set it."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    epoch_length = iterations // cfg.train_cfg.max_epochs
    # Those that count epochs stay as they are within one.
    schedulers = [
        PARAM_SCHEDULERS.build(
            {**scheduler, "optimizer": optimizer, "epoch_length": epoch_length}
            if scheduler.get("convert_to_iter_based")
            else {**scheduler, "optimizer": optimizer}
        )
        for scheduler in cfg.param_scheduler
    ]
    found = []
    for iteration in range(1, iterations + 1):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for scheduler in schedulers:
            if not scheduler.by_epoch or iteration % epoch_length == 0:
                scheduler.step()
    return found


@pytest.mark.parametrize("epochs", [1, 2, 8, 300])
def test_a_warm_up_before_a_cosine_stays_one_at_any_length(read, epochs):
    cfg = read("mmdet::yolox/yolox_s_8xb8-300e_coco.py")
    set_epochs(cfg, epochs)
    found = rates(cfg, 10 * epochs)
    top = found.index(max(found))
    assert found[0] < 0.1
    assert found[: top + 1] == sorted(found[: top + 1])
    assert found[top] > 0.8
    assert found[top:] == sorted(found[top:], reverse=True)
    if epochs > 1:
        assert found[-1] < 0.2
    spans = [(s.begin, s.end) for s in cfg.param_scheduler]
    assert all(begin < end for begin, end in spans)
    if epochs == 300:
        assert spans == [(0, 5), (5, 285), (285, 300)]


def test_a_change_of_pipeline_goes_along(read):
    cfg = read("mmdet::yolox/yolox_s_8xb8-300e_coco.py")
    set_epochs(cfg, 100)
    assert cfg.custom_hooks[0].num_last_epochs == 5  # of 15 in 300
    cfg = read("mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py")
    set_epochs(cfg, 30)
    (switch,) = [hook for hook in cfg.custom_hooks if "switch_epoch" in hook]
    assert switch.switch_epoch == 28  # of 280 in 300
    assert cfg.train_cfg.dynamic_intervals == [(28, 1)]


def test_validations_and_checkpoints_are_no_rarer_than_a_short_training_needs(read):
    cfg = read("mmdet::yolox/yolox_s_8xb8-300e_coco.py")
    assert (cfg.train_cfg.val_interval, cfg.default_hooks.checkpoint.interval) == (
        (10, 10)
    )
    set_epochs(cfg, 60)
    assert (cfg.train_cfg.val_interval, cfg.default_hooks.checkpoint.interval) == (2, 2)
    set_epochs(cfg, 300)
    assert cfg.train_cfg.val_interval == 2


def test_all_that_counts_epochs_goes_along(read):
    cfg = read()
    before = cfg.train_cfg.max_epochs
    cfg.train_cfg.val_begin = before
    cfg.default_hooks.checkpoint.update(interval=-1, save_begin=before)
    cfg.custom_hooks = [{"type": "EMAHook", "begin_epoch": before // 2}]
    cfg.param_scheduler = [
        {"type": "StepLR", "step_size": before // 2},
        {"type": "CosineRestartLR", "periods": [before // 2, before]},
        {"type": "StepLR", "by_epoch": False, "step_size": 7},
        {"type": "OneCycleLR", "by_epoch": False, "total_steps": 7},
    ]
    set_epochs(cfg, 2 * before)
    assert cfg.train_cfg.val_begin == 2 * before
    checkpoint = cfg.default_hooks.checkpoint
    assert (checkpoint.interval, checkpoint.save_begin) == (-1, 2 * before)
    assert cfg.custom_hooks[0].begin_epoch == before
    steps, restarts, iterations, cycle = cfg.param_scheduler
    assert steps["step_size"] == before
    assert restarts["periods"] == [before, 2 * before]
    assert iterations["step_size"] == cycle["total_steps"] == 7


@pytest.mark.parametrize(
    ("epochs", "periods"),
    [
        (100, [10, 10, 10, 10, 10, 10, 10, 10, 10, 10]),
        (24, [2, 3, 2, 3, 2, 2, 3, 2, 3, 2]),
        (6, [1, 0, 1, 0, 1, 1, 0, 1, 0, 1]),
        (1, [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ],
)
def test_restarts_fill_a_training_of_any_length(read, epochs, periods):
    cfg = read()
    cfg.train_cfg.max_epochs = 50
    restarts = {
        "type": "CosineRestartLR",
        "periods": [5] * 10,
        "restart_weights": [1 - index / 10 for index in range(10)],
        "eta_min": 0,
        "convert_to_iter_based": True,
    }
    cfg.param_scheduler = [restarts]
    weights = restarts["restart_weights"]
    set_epochs(cfg, epochs)
    assert cfg.param_scheduler[0]["periods"] == list(filter(None, periods))
    found = rates(cfg, 10 * epochs)
    starts = [0, *accumulate(periods)]
    assert starts[-1] == epochs
    for start, period, weight in zip(starts, periods, weights, strict=False):
        if period:
            assert found[10 * start] == weight


@pytest.mark.parametrize("by_iteration", [False, True])
@pytest.mark.parametrize("epochs", [4, 24])
def test_one_cycle_takes_the_whole_of_a_training_of_any_length(
    read, epochs, by_iteration
):
    cfg = read()
    cfg.train_cfg.max_epochs = 12
    cycle = {"type": "OneCycleLR", "eta_max": 1.0, "total_steps": 12, "pct_start": 0.4}
    cfg.param_scheduler = [{**cycle, "convert_to_iter_based": by_iteration}]
    set_epochs(cfg, epochs)
    found = rates(cfg, 10 * epochs)
    assert found[0] < 0.1
    assert max(found) > 0.7
    assert found[-1] < 0.001


@pytest.mark.parametrize("train_cfg", [None, {"type": "IterBasedTrainLoop"}])
def test_a_training_that_counts_no_epochs_is_refused(read, train_cfg):
    cfg = read()
    cfg.train_cfg = train_cfg
    with pytest.raises(ConfigError, match="--epochs needs a config that trains by"):
        set_epochs(cfg, 2)


def test_numbers_that_make_no_sense_are_refused(read):
    with pytest.raises(ConfigError, match="--epochs must be at least 1"):
        set_epochs(read(), 0)
