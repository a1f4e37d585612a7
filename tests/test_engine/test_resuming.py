"""A run that was interrupted ends with the weights of one that was not."""

import pytest
import torch


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
