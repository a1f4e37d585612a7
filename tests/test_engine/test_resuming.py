"""A run that was interrupted ends with the weights of one that was not."""

import pytest
import torch
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import WeightedRandomSampler

from mmdet_lite.errors import ConfigError


def assert_same(state, expected):
    assert state.keys() == expected.keys()
    differing = [k for k in state if not torch.equal(state[k], expected[k])]
    assert not differing, f"{len(differing)} of {len(state)} differ: {differing[:3]}"


@pytest.mark.parametrize(
    ("by_epoch", "interval", "kill_at", "last", "workers"),
    [(True, 1, 6, "epoch_2.pth", 0), (False, 3, 7, "iter_8.pth", 2)],
    ids=["between epochs", "inside an epoch"],
)
def test_a_resumed_run_is_the_same_run(
    run_config, train, final_state, tmp_path, by_epoch, interval, kill_at, last, workers
):
    run_config.default_hooks.checkpoint.update(by_epoch=by_epoch, interval=interval)
    run_config.train_dataloader.num_workers = workers
    train(run_config)
    expected = final_state(last)
    for file in tmp_path.glob("*.pth"):
        file.unlink()
    train(run_config, kill_at=kill_at)
    assert not (tmp_path / last).exists()
    resumed = train(run_config, resume="auto")
    assert resumed.iter == 8
    assert_same(final_state(last), expected)


def test_a_run_that_counts_iterations_is_the_same_run(
    run_config, train, final_state, tmp_path
):
    run_config.train_cfg = {"by_epoch": False, "max_iters": 6, "val_interval": 4}
    run_config.param_scheduler = [{"type": "MultiStepLR", "milestones": [3]}]
    run_config.param_scheduler[0]["by_epoch"] = False
    run_config.train_dataloader.sampler.type = "InfiniteSampler"
    run_config.default_hooks.checkpoint.update(by_epoch=False, interval=2)
    train(run_config)
    expected = final_state("iter_6.pth")
    (tmp_path / "iter_6.pth").unlink()
    train(run_config, resume="auto")
    assert_same(final_state("iter_6.pth"), expected)


@DATA_SAMPLERS.register_module(force=True)
class Balanced(WeightedRandomSampler):
    """PyTorch's, as a config can name it: without seed and epoch."""

    def __init__(self, dataset, seed=None):
        super().__init__([1.0] * len(dataset), len(dataset))


@pytest.mark.parametrize(
    ("loop", "workers"),
    [
        ({"by_epoch": True, "max_epochs": 2}, 2),
        ({"by_epoch": False, "max_iters": 8}, 0),
    ],
    ids=["epochs", "iterations"],
)
def test_samples_that_pytorch_draws_are_the_same(
    run_config, train, final_state, tmp_path, monkeypatch, loop, workers
):
    # Between the epochs of a loop that counts iterations.
    monkeypatch.setattr("mmengine.runner.loops.time.sleep", lambda seconds: None)
    run_config.train_cfg = loop
    loader = run_config.train_dataloader
    loader.sampler, loader.batch_sampler = {"type": "Balanced"}, None
    loader.num_workers = workers
    run_config.param_scheduler = None
    hook = run_config.default_hooks.checkpoint
    hook.update(by_epoch=False, interval=2, save_best=None)
    train(run_config)
    expected = final_state("iter_8.pth")
    for file in tmp_path.glob("*.pth"):
        file.unlink()
    train(run_config, kill_at=7)
    train(run_config, resume="auto")
    assert_same(final_state("iter_8.pth"), expected)


def test_a_run_without_a_seed_keeps_the_one_that_it_drew(
    run_config, train, final_state, tmp_path
):
    run_config.randomness = {"seed": None}
    seed = train(run_config).seed
    expected = final_state("epoch_2.pth")
    (tmp_path / "epoch_2.pth").unlink()
    assert train(run_config, resume="auto").seed == seed
    assert_same(final_state("epoch_2.pth"), expected)


def test_an_epoch_of_other_batches_is_not_gone_on_with(run_config, train):
    run_config.default_hooks.checkpoint.update(by_epoch=False, interval=3)
    train(run_config, kill_at=3)
    run_config.train_dataloader.batch_size = 4
    with pytest.raises(ConfigError, match=r"after 3 of 4 batches .* which has 2 now"):
        train(run_config, resume="auto")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"paramwise_cfg.bias_decay_mult": 0.0},
            r"has 1 groups of 8 parameters and that of the config 8 groups of 8",
        ),
        (
            {"optimizer.type": "SGD", "optimizer.momentum": 0.9},
            r"has no momentum, dampening, which the SGD of the config needs",
        ),
    ],
    ids=["groups", "kind"],
)
def test_the_state_of_another_optimizer_is_refused(run_config, train, change, message):
    del run_config.optim_wrapper.paramwise_cfg
    train(run_config, kill_at=5)
    run_config.merge_from_dict(
        {f"optim_wrapper.{name}": value for name, value in change.items()}
    )
    with pytest.raises(ConfigError, match=rf"epoch_1\.pth does not fit.*{message}"):
        train(run_config, resume="auto")


def test_a_damaged_checkpoint_is_passed_over_and_named(
    run_config, train, tmp_path, capfd
):
    train(run_config)
    newest = tmp_path / "epoch_2.pth"
    newest.write_bytes(newest.read_bytes()[:-500])
    runner = train(run_config, resume="auto")
    assert runner.iter == 8
    said = capfd.readouterr().out
    assert "epoch_2.pth is truncated" in said
    assert "going on from" in said
    torch.load(newest)
