"""Proposals are counted by the level that made them and the object that they are on."""

import json
from copy import deepcopy

import pytest
import torch
from mmdet.registry import MODELS

from mmdet_lite.cli import read_config
from mmdet_lite.errors import ConfigError
from mmdet_lite.experiments.proposals import count_proposals

# (x, y, width, height) in an image of 128×128, whose maps have cells of 8 to 64 pixels
# and anchors of 6.4 to 51.2. Each fits one anchor but the last, which fits none.
OBJECTS = {
    1: [(0.8, 0.8, 6.4, 6.4), (3.2, 3.2, 25.6, 25.6), (67.2, 35.2, 25.6, 25.6)],
    2: [(6.4, 70.4, 51.2, 51.2), (0, 0, 128, 10)],
}


@pytest.fixture
def read(repository, digits_root, tmp_path, monkeypatch):
    """Function that reads a small config; its images are digits, its objects ours."""
    images = [
        {"id": id_, "file_name": f"val_0000{id_}.png", "width": 128, "height": 128}
        for id_ in OBJECTS
    ]
    boxes = [(id_, box) for id_, boxes in OBJECTS.items() for box in boxes]
    annotations = [
        {"id": number, "image_id": id_, "category_id": 1, "bbox": box, "iscrowd": 0}
        | {"area": box[2] * box[3]}
        for number, (id_, box) in enumerate(boxes, 1)
    ]
    categories = [{"id": id_ + 1, "name": str(id_)} for id_ in range(10)]
    (tmp_path / "images").symlink_to(digits_root / "images")
    (tmp_path / "val.json").write_text(
        json.dumps(
            {"images": images, "annotations": annotations, "categories": categories}
        )
    )
    monkeypatch.setenv("DIGITS_ROOT", str(tmp_path))
    name = "lite-dino_h3l1-2p1x3_r18_1xb4-3e_digits.py"

    def call(**options):
        cfg = read_config(str(repository / "configs" / "lite_detr" / name), options)
        cfg.model.decoder.num_layers = 1
        cfg.test_dataloader.dataset.pipeline[1].scale = (128, 128)
        # What only workers have does not matter.
        cfg.test_dataloader.prefetch_factor = 4
        return cfg

    return call


def save_initial(cfg, path):
    """Weights before training, whose proposals are the anchors."""
    torch.manual_seed(0)
    model = MODELS.build(deepcopy(cfg.model))
    model.init_weights()
    torch.save({"meta": {}, "state_dict": model.state_dict()}, path)
    return str(path)


def test_each_token_counts_for_its_level_and_the_object_it_is_on(read, tmp_path):
    cfg = read(**{"model.num_queries": 340})  # as many as there are tokens
    counted = count_proposals(cfg, save_initial(cfg, tmp_path / "start.pth"))
    assert counted == {
        "queries": pytest.approx([256 / 340, 64 / 340, 16 / 340, 4 / 340]),
        "levels": [0.25, 0, 0.5, 0.25],
        "per_object": pytest.approx(4 / 5),
        "without": pytest.approx(1 / 5),
        "objects": 5,
        "images": 2,
    }


def test_levels_that_may_not_propose_have_no_share(read, tmp_path):
    cfg = read(**{"model.num_queries": 20, "model.num_proposal_levels": 2})
    counted = count_proposals(cfg, save_initial(cfg, tmp_path / "start.pth"))
    assert counted["queries"] == pytest.approx([0, 0, 16 / 20, 4 / 20])
    assert counted["levels"] == pytest.approx([0, 0, 2 / 3, 1 / 3])
    assert counted["per_object"] == pytest.approx(3 / 5)


def test_without_a_checkpoint_the_seed_decides(read):
    cfg = read(**{"model.num_queries": 20})
    first, again, other = (count_proposals(cfg, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first["queries"] != other["queries"]


def test_a_detector_without_proposals_is_refused(tmp_path):
    cfg = read_config("mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py")
    cfg.model.backbone.init_cfg = None
    with pytest.raises(ConfigError, match="DeformableDETR here makes no proposals"):
        count_proposals(cfg, str(tmp_path / "none.pth"))


def test_a_config_without_a_test_set_is_refused(read):
    cfg = read()
    cfg.test_evaluator = cfg.test_cfg = None  # Nothing is scored.
    assert count_proposals(cfg)["images"] == 2
    cfg.test_dataloader = None
    with pytest.raises(ConfigError, match="no test set: it needs test_dataloader"):
        count_proposals(cfg)


def test_a_detector_that_chooses_distinct_proposals_is_refused():
    cfg = read_config("mmdet::ddq/ddq-detr-4scale_r50_8xb2-12e_coco.py")
    cfg.model.backbone.init_cfg = None
    with pytest.raises(ConfigError, match="DDQDETR does not choose"):
        count_proposals(cfg)
