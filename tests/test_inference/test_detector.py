"""Only weights that fill the model, on a device that there is, are taken."""

import pytest
import torch

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
