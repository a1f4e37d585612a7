"""--resume on a work dir that has nothing to go on from."""

import pytest
from mmengine.config import Config

from mmdet_lite.cli import resume_training


@pytest.mark.parametrize("weights", [None, "weights.pth"])
def test_a_training_that_never_saved_starts_from_the_weights_it_was_given(
    tmp_path, weights
):
    cfg = Config({"work_dir": str(tmp_path), "load_from": weights})
    assert resume_training(cfg, "auto") == []
    assert cfg.resume is False
    assert cfg.load_from == weights
