"""Shared by the tests: where the repository lies, small models, small real data."""

import os
from pathlib import Path

# Before PyTorch is imported: workers of pytest-xdist share the cores.
if (workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))) > 1:
    threads = max(1, (os.cpu_count() or 1) // workers)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))

import pytest
from mmdet.models.detectors import DINO
from mmdet.utils import register_all_modules
from mmengine.config import Config
from repository_root import REPOSITORY
from tiny_language_model import TinyLanguageModel

from mmdet_lite.cli import read_config
from mmdet_lite.datasets.digits import make_digits_dataset
from mmdet_lite.layers.query_position import keep_official_positions


@pytest.fixture(scope="session", autouse=True)
def mmdet_scope():
    """Resolve types in mmdet's registries, as a run of its tools does."""
    register_all_modules(init_default_scope=True)


@pytest.fixture
def dino_of_the_zoo(monkeypatch):
    """DINO as mmdet's zoo has it; onedl-mmdetection 3.5 builds a wider one."""
    build = DINO._init_layers

    def build_official(model):
        build(model)
        keep_official_positions(model.decoder)

    monkeypatch.setattr(DINO, "_init_layers", build_official)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def digits_root(tmp_path_factory) -> Path:
    """A small data set of real handwritten digits."""
    root = tmp_path_factory.mktemp("digits")
    make_digits_dataset(root, num_train=8, num_val=4, image_size=128, max_digits=4)
    return root


@pytest.fixture(scope="session")
def small_config():
    """Function that shrinks a DETR config, of mmdet or of here, to a test's size."""

    def shrink(name: str, **encoder) -> Config:
        if not name.startswith("mmdet::"):
            name = str(REPOSITORY / "configs" / "lite_detr" / name)
        cfg = read_config(name)
        cfg.merge_from_dict(
            {
                "model.num_queries": 20,
                "model.test_cfg.max_per_img": 20,
                "model.backbone.init_cfg": None,
                "model.encoder.layer_cfg.ffn_cfg.feedforward_channels": 64,
                "model.decoder.num_layers": 2,
                "model.decoder.layer_cfg.ffn_cfg.feedforward_channels": 64,
            }
        )
        backbone, neck = cfg.model.backbone, cfg.model.neck
        if backbone.type == "SwinTransformer":
            backbone.update(embed_dims=24, depths=[1] * 4, num_heads=[1, 2, 4, 8])
            channels = [48, 96, 192]
        elif backbone.type == "EfficientNetLite":
            channels = [40, 112, 320]
        else:
            backbone.depth = 18
            channels = [128, 256, 512]
        neck.in_channels = channels[-len(neck.in_channels) :]
        if cfg.model.type in ("HDeformableDETR", "LiteHDeformableDETR"):
            cfg.model.num_one2many_queries = 30
        if "language_model" in cfg.model:
            cfg.model.language_model = {"type": TinyLanguageModel.__name__}
            cfg.merge_from_dict(
                {
                    "model.encoder.text_layer_cfg.ffn_cfg.feedforward_channels": 64,
                    "model.encoder.fusion_layer_cfg.embed_dim": 64,
                }
            )
        cfg.model.encoder.update(encoder)
        return cfg

    return shrink
