"""Official files become mmengine's and come back; other files are refused."""

import argparse
import os

import pytest
import torch
from official_model import OfficialLiteDINO, with_random_weights

from mmdet_lite.checkpoint.official.file import (
    convert_official_file,
    restore_official_file,
)
from mmdet_lite.errors import ConfigError


@pytest.fixture(scope="module")
def weights():
    return with_random_weights(OfficialLiteDINO()).state_dict()


@pytest.fixture(scope="module")
def official_file(weights, tmp_path_factory):
    """A file as the official code writes it."""
    path = tmp_path_factory.mktemp("official") / "checkpoint0035.pth"
    averaged = {f"module.{name}": 2 * tensor for name, tensor in weights.items()}
    torch.save(
        {
            "model": weights,
            "optimizer": {"state": {}, "param_groups": [{"lr": 1e-4}]},
            "lr_scheduler": {"last_epoch": 35},
            "epoch": 35,
            "args": argparse.Namespace(enc_scale=2, num_expansion=3, lr=1e-4),
            "ema_model": averaged,
        },
        path,
    )
    return path


def test_a_file_comes_back_bit_by_bit(official_file, weights, tmp_path):
    there, back = tmp_path / "new" / "there.pth", tmp_path / "back.pth"
    conversion, num_high_levels = convert_official_file(official_file, there)
    assert num_high_levels == 2
    converted = torch.load(there, weights_only=True)
    assert converted["state_dict"].keys() == conversion.state_dict.keys()
    classes = converted["meta"]["dataset_meta"]["classes"]
    assert len(classes) == len(converted["state_dict"]["bbox_head.cls_branches.0.bias"])
    assert (classes[0], classes[79]) == ("person", "toothbrush")
    restore_official_file(there, back)
    restored = torch.load(back, weights_only=True)["model"]
    assert restored.keys() == weights.keys()
    assert all(torch.equal(restored[name], weights[name]) for name in weights)


def test_averaged_weights_can_be_converted(official_file, weights, tmp_path):
    conversion, _ = convert_official_file(
        official_file, tmp_path / "there.pth", ema=True
    )
    assert torch.equal(
        conversion.state_dict["level_embed"], 2 * weights["transformer.level_embed"]
    )


def test_91_classes_are_named_by_their_category(official_file, tmp_path):
    there = tmp_path / "there.pth"
    convert_official_file(official_file, there, keep_all_classes=True)
    classes = torch.load(there, weights_only=True)["meta"]["dataset_meta"]["classes"]
    assert len(classes) == 91
    assert (classes[1], classes[12], classes[90]) == ("person", "12", "toothbrush")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {}, "meta": {}}, r"'model', it is a dict with 'state_dict'"),
        ([1, 2], r"no weights under 'model', it is a list"),
        ({"model": {"epoch": 3}}, "'model' .* does not hold names with tensors"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(ConfigError, match=message):
        convert_official_file(path, tmp_path / "there.pth")
    assert not (tmp_path / "there.pth").exists()


def test_code_in_a_file_does_not_run(tmp_path):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made by the checkpoint"),)

    path = tmp_path / "harmful.pth"
    torch.save({"model": {"level_embed": Harmful()}}, path)
    with pytest.raises(ConfigError, match=r"asks for posix.mkdir"):
        convert_official_file(path, tmp_path / "there.pth")
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_checkpoint_is_refused(tmp_path, official_file):
    path = tmp_path / "notes.pth"
    path.write_text("no checkpoint\n")
    for convert in (convert_official_file, restore_official_file):
        with pytest.raises(ConfigError, match=r"notes\.pth cannot be read"):
            convert(path, tmp_path / "there.pth")
        with pytest.raises(ConfigError, match=r"does not exist: .*absent\.pth"):
            convert(tmp_path / "absent.pth", tmp_path / "there.pth")
    with pytest.raises(ConfigError, match="no weights under 'state_dict'"):
        restore_official_file(official_file, tmp_path / "there.pth")
