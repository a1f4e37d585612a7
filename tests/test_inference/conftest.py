"""A detector with weights in a file, and files to detect in."""

import shutil
from copy import deepcopy

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from mmdet_lite.inference import load_detector

DIGITS = tuple("0123456789")


@pytest.fixture(scope="session")
def digits_config(small_config):
    """A small detector of digits, its images of at most 96 pixels."""
    cfg = small_config("lite-dino_h3l1-2p1x3_r18_1xb4-3e_digits.py")
    resize = next(
        step
        for step in cfg.test_dataloader.dataset.pipeline
        if step["type"] == "Resize"
    )
    resize.scale = (96, 96)
    return cfg


@pytest.fixture(scope="session")
def config_file(digits_config, tmp_path_factory):
    """The config as a file."""
    path = tmp_path_factory.mktemp("configs") / "digits.py"
    Config(digits_config.to_dict()).dump(str(path))
    return path


@pytest.fixture(scope="session")
def weights(digits_config, tmp_path_factory):
    """A checkpoint of the config, not trained."""
    torch.manual_seed(0)
    model = MODELS.build(deepcopy(digits_config.model))
    model.init_weights()
    path = tmp_path_factory.mktemp("weights") / "digits.pth"
    meta = {"dataset_meta": {"classes": DIGITS}}
    torch.save({"state_dict": model.state_dict(), "meta": meta}, path)
    return path


@pytest.fixture(scope="session")
def detector(digits_config, weights):
    return load_detector(digits_config, weights, "cpu")


@pytest.fixture
def folder(digits_root, tmp_path):
    """Scans of three sizes, one of them in a subfolder, and a file cut off."""
    folder = tmp_path / "scans"
    (folder / "more").mkdir(parents=True)
    first, second, third = sorted((digits_root / "images").glob("val_*.png"))[:3]
    shutil.copy(first, folder / "a.png")
    cv2.imwrite(str(folder / "b.JPG"), cv2.imread(str(second))[:80])
    cv2.imwrite(str(folder / "more" / "a.png"), cv2.imread(str(third))[:, :100])
    (folder / "cut.png").write_bytes(first.read_bytes()[:60])
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def video(digits_root, tmp_path):
    """Three scans as a film of 12.5 frames a second."""
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter_fourcc(*"MJPG"), 12.5, (128, 96)
    )
    for file in sorted((digits_root / "images").glob("val_*.png"))[:3]:
        writer.write(np.ascontiguousarray(cv2.imread(str(file))[:96]))
    writer.release()
    return path
