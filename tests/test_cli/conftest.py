"""Configs of this package and of mmdet, by their names."""

import pytest

from mmdet_lite.cli import read_config


@pytest.fixture
def read(repository):
    def read_by_name(name="lite-dino_h3l1-2p1x3_effnet-lite0_1xb2-8e_bccd.py"):
        if not name.startswith("mmdet::"):
            name = str(repository / "configs" / "lite_detr" / name)
        return read_config(name)

    return read_by_name
