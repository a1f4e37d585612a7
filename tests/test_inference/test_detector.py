"""Only weights that fill the model, on a device that there is, are taken."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from mmdet_lite.cli import read_config
from mmdet_lite.errors import ConfigError
from mmdet_lite.inference import detect_to_folder, find_sources, load_detector


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


@pytest.fixture
def panoptic(tmp_path):
    """Config and weights of a detector of 80 things whose last names are of stuff."""
    cfg = read_config("mmdet::panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py")
    cfg.merge_from_dict(
        {
            "model.backbone.depth": 18,
            "model.backbone.init_cfg": None,
            "model.neck.in_channels": [64, 128, 256, 512],
            "model.roi_head.bbox_head.fc_out_channels": 8,
        }
    )
    dataset = cfg.test_dataloader.dataset
    dataset.pipeline = [
        step
        for step in dataset.pipeline
        if step.type != "LoadPanopticAnnotations"  # It needs panopticapi.
    ]
    model = MODELS.build(deepcopy(cfg.model))
    weights = tmp_path / "panoptic.pth"
    torch.save({"state_dict": model.state_dict()}, weights)
    return cfg, weights


def test_a_panoptic_detector_has_names_of_stuff_behind_those_of_its_boxes(panoptic):
    cfg, weights = panoptic
    names = load_detector(cfg, weights, "cpu").model.dataset_meta["classes"]
    assert (len(names), names[0], names[-1]) == (133, "person", "rug-merged")
    cfg.test_dataloader.dataset.metainfo = {"classes": names[:100]}
    with pytest.raises(ConfigError, match=r"is 80, and of stuff 53, .* of 100 classes"):
        load_detector(cfg, weights, "cpu")


def test_a_detector_without_boxes_is_refused(panoptic, folder, tmp_path):
    detector = load_detector(*panoptic, "cpu")
    sources = find_sources([folder / "a.png"], tmp_path)
    with pytest.raises(ConfigError, match="PanopticFPN predicts no boxes"):
        detect_to_folder(detector, sources, tmp_path)


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
