"""--epochs changes how long a config trains, and its schedule in proportion."""

import pytest

from mmdet_lite.cli import read_config, set_epochs
from mmdet_lite.errors import ConfigError

SMALL = "lite-dino_h3l1-2p1x3_effnet-lite0_1xb2-8e_bccd.py"
COCO = "lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py"


@pytest.fixture
def read(repository):
    def read_by_name(name=SMALL):
        if not name.startswith("mmdet::"):
            name = str(repository / "configs" / "lite_detr" / name)
        return read_config(name)

    return read_by_name


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


def test_numbers_that_make_no_sense_are_refused(read):
    with pytest.raises(ConfigError, match="--epochs must be at least 1"):
        set_epochs(read(), 0)
