"""Weights to measure the accuracy of may lie anywhere that mmengine reads from."""

import pytest
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
