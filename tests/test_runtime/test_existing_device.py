"""A device that cannot be used is told before the work."""

import pytest

from mmdet_lite.errors import ConfigError
from mmdet_lite.runtime.device import existing_device


def test_a_device_that_there_is_not_is_refused():
    assert existing_device("cpu").type == "cpu"
    with pytest.raises(ConfigError, match="--device xpu:99 cannot be used: "):
        existing_device("xpu:99")
