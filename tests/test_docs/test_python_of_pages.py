"""What the pages show in Python runs, as it stands there, on weights of no training."""

import re

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from python_process import run_python
from repository_root import REPOSITORY

from mmdet_lite.config_file import read_config
from mmdet_lite.datasets.class_names import classes_of_config
from mmdet_lite.model_config import without_pretrained_weights

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_PATH = re.compile(r'"((?:configs|work_dirs|data)/[^"]+)"')
PAGES = ("README.md", "docs/attention.md", "docs/deployment.md", "docs/inference.md")
PICTURES = (
    "bccd/images/BloodImage_00001.jpg",
    "bccd/images/BloodImage_00064.jpg",
    "digits/images/val_00001.png",
)
# What a program needs that has the word in it.
OPTIONAL = {"supervision": "supervision", "sahi": "sahi", '"onnx"': "onnx"}
CELL = "work_dirs/experiments/bccd_lite-dino_h3l1-2p1x3_seed0"
WEIGHTS = "work_dirs/lite-dino_h3l1-2p1x3_effnet-lite0_1xb2-8e_bccd/epoch_8.pth"
CONFIGS = "configs/lite_detr"
BLOOD = f"{CONFIGS}/lite-dino_h3l1-2p1x3_effnet-lite0_1xb2-8e_bccd.py"
DIGITS = f"{CONFIGS}/lite-dino_h3l1-2p1x3_effnet-lite0_1xb4-2e_digits.py"


def programs():
    """The blocks that are whole programs, each with the page's name."""
    for name in PAGES:
        for block in _BLOCK.findall((REPOSITORY / name).read_text()):
            if "(CONFIG)" in block:  # As it is in the page's commands.
                block = f'CONFIG = "{BLOOD}"\nWEIGHTS = "{WEIGHTS}"\n{block}'
            if _PATH.search(block):
                yield pytest.param(block, id=f"{name}:{block.splitlines()[-1][:30]}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkout after the trainings that the pages speak of."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "configs").symlink_to(REPOSITORY / "configs")
    for config, weights in (
        (BLOOD, WEIGHTS),
        (BLOOD, f"{CELL}/best_coco_bbox_mAP_50_epoch_8.pth"),
        (DIGITS, "work_dirs/demo/epoch_2.pth"),
    ):
        cfg = read_config(str(REPOSITORY / config))
        path = folder / weights
        path.parent.mkdir(parents=True)
        cfg.dump(path.parent / "cell.py")
        torch.manual_seed(0)
        model = MODELS.build(without_pretrained_weights(cfg.model))
        model.init_weights()
        meta = {"dataset_meta": {"classes": classes_of_config(cfg)}}
        torch.save({"state_dict": model.state_dict(), "meta": meta}, path)
    pixels = np.random.default_rng(0).integers(256, size=(480, 640, 3), dtype=np.uint8)
    for picture in PICTURES:
        path = folder / "data" / picture
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), pixels)
    return folder


@pytest.mark.parametrize("program", programs())
def test_a_program_of_a_page_runs(folder, program):
    for word, package in OPTIONAL.items():
        if word in program:
            pytest.importorskip(package)
    script = folder / "program.py"
    script.write_text(program)
    result = run_python(script, cwd=folder)
    assert result.returncode == 0, result.stdout + result.stderr
