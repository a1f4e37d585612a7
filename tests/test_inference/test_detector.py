"""Only weights that fill the model, on a device that there is, are taken."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from mmdet_lite.errors import ConfigError
from mmdet_lite.inference import load_detector


def test_names_of_classes_come_from_the_config_where_weights_have_none(
    digits_config, weights, tmp_path
):
    bare = tmp_path / "bare.pth"
    state_dict = torch.load(weights)["state_dict"]
    torch.save({"state_dict": state_dict}, bare)
    detector = load_detector(digits_config, bare, "cpu")
    assert detector.model.dataset_meta["classes"] == tuple("0123456789")


@pytest.mark.parametrize("several", [False, True])
def test_a_config_without_one_test_set_tells_how_images_are_read(
    digits_config, weights, several
):
    cfg = deepcopy(digits_config)
    if several:
        dataset = cfg.test_dataloader.dataset
        joined = {"type": "ConcatDataset", "datasets": [dataset, dataset]}
        cfg.test_dataloader.dataset = joined
    else:
        cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
    image = np.zeros((128, 128, 3), np.uint8)
    found = load_detector(cfg, weights, "cpu")(image)["predictions"][0]
    cfg.test_dataloader = digits_config.val_dataloader
    expected = load_detector(cfg, weights, "cpu")(image)["predictions"][0]
    assert several or found == expected
    cfg.test_dataloader = cfg.val_dataloader = None
    with pytest.raises(ConfigError, match="neither test_dataloader nor"):
        load_detector(cfg, weights, "cpu")


NAMES = tuple("abcdefghij")
DIGITS = tuple("0123456789")


@pytest.mark.parametrize(
    ("meta", "names"),
    [
        ({"dataset_meta": {"classes": list(NAMES)}}, NAMES),
        ({"dataset_meta": {"CLASSES": NAMES}}, NAMES),  # 3.0's release candidates
        ({"CLASSES": NAMES}, NAMES),  # mmdet 2.x
        ({"dataset_meta": None}, DIGITS),
        ({"dataset_meta": {}}, DIGITS),
        (None, DIGITS),
    ],
)
def test_names_of_classes_are_those_that_any_mmdet_left(
    digits_config, weights, tmp_path, meta, names
):
    state_dict = torch.load(weights)["state_dict"]
    torch.save({"state_dict": state_dict, "meta": meta}, tmp_path / "named.pth")
    detector = load_detector(digits_config, tmp_path / "named.pth", "cpu")
    assert detector.model.dataset_meta["classes"] == names
    assert detector.visualizer.dataset_meta["classes"] == names


def test_more_classes_than_the_configs_data_set_has_colours_are_drawn(
    digits_config, tmp_path
):
    cfg = deepcopy(digits_config)
    cfg.model.bbox_head.num_classes = 100
    names = [f"class {i}" for i in range(100)]
    cfg.test_dataloader.dataset.metainfo = {"classes": names}
    model = MODELS.build(deepcopy(cfg.model))
    model.init_weights()
    torch.save({"state_dict": model.state_dict()}, tmp_path / "a.pth")
    detector = load_detector(cfg, tmp_path / "a.pth", "cpu")
    sample = DetDataSample(
        pred_instances=InstanceData(
            bboxes=torch.tensor([[8.0, 8, 40, 40]]),
            scores=torch.ones(1),
            labels=torch.tensor([99]),
        )
    )
    image = np.zeros((64, 64, 3), np.uint8)
    detector.visualizer.add_datasample("", image, sample, draw_gt=False)
    assert detector.visualizer.get_image().any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("level_embed"), "1 are missing: level_embed"),
        (
            lambda weights: weights.update(level_embed=torch.zeros(2, 256)),
            r"1 have another shape: level_embed \(2, 256\)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    digits_config, weights, tmp_path, change, message
):
    checkpoint = torch.load(weights)
    change(checkpoint["state_dict"])
    torch.save(checkpoint, tmp_path / "other.pth")
    with pytest.raises(ConfigError, match=f"other.pth does not fit.*{message}"):
        load_detector(digits_config, tmp_path / "other.pth", "cpu")


@pytest.mark.parametrize("device", ["gpu", "meta:x", "cuda:99"])
def test_unknown_devices_are_refused(digits_config, weights, device):
    with pytest.raises(ConfigError, match=f"--device {device} cannot be used"):
        load_detector(digits_config, weights, device)


def test_a_model_that_needs_texts_is_refused(small_config, weights):
    config = "mmdet::grounding_dino/grounding_dino_r50_scratch_8xb2_1x_coco.py"
    with pytest.raises(ConfigError, match="finds what texts name"):
        load_detector(small_config(config), weights, "cpu")
