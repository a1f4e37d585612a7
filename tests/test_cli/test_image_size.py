"""--image-size changes every size of a config in proportion."""

import pytest
from mmdet.registry import DATASETS
from mmengine.config import ConfigDict
from mmengine.dataset import Compose

from mmdet_lite.cli import set_image_size, use_own_data
from mmdet_lite.errors import ConfigError

SMALL = "lite-dino_h3l1-2p1x3_effnet-lite0_1xb2-8e_bccd.py"
COCO = "lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py"
YOLOX = "mmdet::yolox/yolox_s_8xb8-300e_coco.py"
RTMDET = "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py"
MULTI_SCALE = "mmdet::retinanet/retinanet_r50_fpn_ms-640-800-3x_coco.py"


def test_the_size_of_all_images_changes(read):
    cfg = read(SMALL)
    set_image_size(cfg, 448)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        (resize,) = [s for s in loader.dataset.pipeline if s.type == "Resize"]
        assert resize.scale == (448, 448)


def test_a_multi_scale_training_stays_one(read):
    cfg = read(COCO)
    cfg.test_dataloader = cfg.val_dataloader
    set_image_size(cfg, 666)  # half of 1333
    assert cfg.val_dataloader.dataset.pipeline[1].scale == (666, 666)
    plain, cropped = cfg.train_dataloader.dataset.pipeline[3].transforms
    assert plain[0].scales[0] == (240, 666)
    assert cropped[0].scales == [(200, 2098), (250, 2098), (300, 2098)]
    assert cropped[1].crop_size == (192, 300)


def test_the_ends_of_a_range_of_sizes_stay_two(read, digits_root):
    cfg = read(MULTI_SCALE)
    use_own_data(cfg, digits_root)
    set_image_size(cfg, 333)  # a quarter
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    sides = {max(dataset[0]["inputs"].shape) for _ in range(8)}
    assert len(sides) > 1
    assert {160 <= side <= 200 for side in sides} == {True}


@pytest.mark.parametrize("name", [YOLOX, RTMDET])
def test_mosaics_are_made_and_tested_at_the_size(read, digits_root, name):
    cfg = read(name)
    use_own_data(cfg, digits_root)
    set_image_size(cfg, 96)
    assert DATASETS.build(cfg.val_dataloader.dataset)[0]["inputs"].shape[1:] == (96, 96)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert dataset[0]["inputs"].shape[1:] == (96, 96)
    mosaics = [step for step in _steps(cfg) if "img_scale" in step]
    assert len(mosaics) == 2
    assert {step.img_scale for step in mosaics} == {(96, 96)}
    for step in _steps(cfg):
        if step.type == "RandomAffine":
            assert step.border == (-48, -48)  # What a mosaic has more than an image.
    for hook in cfg.custom_hooks:
        if "switch_pipeline" in hook:
            dataset.pipeline = Compose(hook.switch_pipeline)
            assert dataset[0]["inputs"].shape[1:] == (96, 96)
    for augment in cfg.model.data_preprocessor.batch_augments or []:
        assert augment.random_size_range == (72, 120)  # of 480 to 800
    tta = [s[0].scale for s in cfg.tta_pipeline[1].transforms[:1]]
    assert tta == [(96, 96)]


def _steps(cfg):
    dataset = cfg.train_dataloader.dataset
    return [*dataset.pipeline, *dataset.get("dataset", {}).get("pipeline", [])]


def test_a_mosaic_of_mmdets_own_size_goes_along(read):
    cfg = read(RTMDET)
    del cfg.train_dataloader.dataset.pipeline[2]["img_scale"]
    set_image_size(cfg, 320)
    assert cfg.train_dataloader.dataset.pipeline[2].img_scale == (320, 320)


def test_ratios_stay(read):
    cfg = read(SMALL)
    steps = (
        {"type": "InstaBoost", "scale": (0.8, 1.2)},
        {"type": "RandomCrop", "crop_type": "relative", "crop_size": (0.5, 0.5)},
        {"type": "Albu", "transforms": [{"type": "RandomScale", "scale_limit": 0.1}]},
    )
    cfg.train_dataloader.dataset.pipeline += map(ConfigDict, steps)
    set_image_size(cfg, 448)
    assert cfg.train_dataloader.dataset.pipeline[-3:] == list(steps)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"type": "Pad", "size": "large"}, "size of Pad should be pixels, but is 'la"),
        ({"type": "Resize", "scale": (0.5, 1)}, "scale of Resize should be pixels"),
        (
            {
                "type": "Albu",
                "transforms": [{"type": "Resize", "height": 9, "width": 9}],
            },
            "does not change Albumentations' Resize, which has width, height",
        ),
    ],
)
def test_sizes_that_cannot_be_known_are_refused(read, step, message):
    cfg = read(SMALL)
    cfg.train_dataloader.dataset.pipeline.append(ConfigDict(step))
    with pytest.raises(ConfigError, match=message):
        set_image_size(cfg, 448)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        (SMALL, 8, "--image-size must be at least 32"),
        ("mmdet::centernet/centernet_r18_8xb16-crop512-140e_coco.py", 320, "no step"),
    ],
)
def test_what_makes_no_sense_is_refused(read, name, size, message):
    with pytest.raises(ConfigError, match=message):
        set_image_size(read(name), size)
