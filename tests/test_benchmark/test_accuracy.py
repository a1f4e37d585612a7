"""What accuracy is measured of is asked for before, and may lie anywhere."""

import pytest
from mmengine.config import Config
from mmengine.runner import checkpoint as mmengine_checkpoint

from mmdet_lite.benchmark.accuracy import measure_accuracy
from mmdet_lite.cli import read_config
from mmdet_lite.errors import ConfigError

CONFIG = "lite-dino_h3l1-2p1x3_r18_1xb4-3e_digits.py"
URL = "https://example.invalid/weights.pth"


@pytest.fixture
def cfg(repository, digits_root, monkeypatch):
    monkeypatch.setenv("DIGITS_ROOT", str(digits_root))
    return read_config(str(repository / "configs" / "lite_detr" / CONFIG))


class FetchedError(Exception):
    """A URL came to where it is fetched."""


def test_a_url_is_left_to_who_fetches_it(cfg, monkeypatch):
    def fetch(url, **kwargs):
        raise FetchedError(url)

    monkeypatch.setattr(mmengine_checkpoint, "load_url", fetch)
    with pytest.raises(FetchedError, match=URL):
        measure_accuracy(cfg, URL)


def test_a_file_that_is_not_there_is_refused(cfg):
    with pytest.raises(ConfigError, match=r"does not exist: nowhere\.pth"):
        measure_accuracy(cfg, "nowhere.pth")


def test_a_config_without_a_test_set_is_refused(tmp_path):
    (tmp_path / "a.pth").touch()
    cfg = Config({"test_dataloader": {}, "test_evaluator": None, "test_cfg": {}})
    with pytest.raises(ConfigError, match=r"the config has no test .*test_evaluator"):
        measure_accuracy(cfg, tmp_path / "a.pth")
