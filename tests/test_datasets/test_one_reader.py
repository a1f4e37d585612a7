"""Of several processes one reads the annotation file, and all have the same data."""

import json
from pathlib import Path

import numpy as np
import pytest
from mmdet.registry import DATASETS
from PIL import Image
from several_processes import run_in_several

SCRIPT = Path(__file__).with_name("load_data_set.py")


@pytest.fixture
def settings(tmp_path):
    """Of a data set of four images with a box each."""
    content = {
        "images": [
            {"id": n, "file_name": f"{n}.png", "width": 60, "height": 40}
            for n in range(4)
        ],
        "annotations": [
            {
                **{"id": n, "image_id": n, "category_id": 7, "iscrowd": 0},
                **{"bbox": [n, 1, 9, 9], "area": 81},
            }
            for n in range(4)
        ],
        "categories": [{"id": 7, "name": "cat"}],
    }
    (tmp_path / "train.json").write_text(json.dumps(content))
    for n in range(4):
        Image.fromarray(np.full((40, 60, 3), n, np.uint8)).save(tmp_path / f"{n}.png")
    return {
        "type": "CheckedCocoDataset",
        "data_root": str(tmp_path),
        "ann_file": "train.json",
        "data_prefix": {"img": ""},
        "metainfo": {"classes": ["cat"]},
        "pipeline": [
            {"type": "LoadImageFromFile"},
            {"type": "PackDetInputs", "meta_keys": []},
        ],
    }


def load_in_two(settings, folder):
    """What each of two processes holds."""
    (folder / "settings.json").write_text(json.dumps(settings))
    out = folder / "held"
    for result in run_in_several(2, SCRIPT, folder / "settings.json", out):
        assert result.returncode == 0, result.stderr[-3000:]
    return [json.loads(Path(f"{out}{rank}").read_text()) for rank in range(2)]


# With one form of the rows each is bytes, with the other objects.
@pytest.mark.parametrize("serialize_data", [True, False])
@pytest.mark.parametrize("indices", [None, 2])
def test_all_have_what_one_has_read(settings, tmp_path, serialize_data, indices):
    settings |= {"serialize_data": serialize_data, "indices": indices}
    alone = DATASETS.build(settings)
    rows = [alone.get_data_info(index) for index in range(len(alone))]
    held = load_in_two(settings, tmp_path)
    assert [process.pop("reads") for process in held] == [1, 0]
    for process in held:
        assert process == {
            "rows": json.loads(json.dumps(rows)),
            "categories": [7],
            "shape": [3, 40, 60],
        }


def test_a_fault_of_the_file_ends_all(settings, tmp_path):
    content = json.loads((tmp_path / "train.json").read_text())
    content["annotations"][2]["bbox"] = None
    (tmp_path / "train.json").write_text(json.dumps(content))
    first, second = load_in_two(settings, tmp_path)
    assert "annotation 2 has bbox None" in first["error"]
    assert first["error"] in second["error"]
    assert "the first process could not load the data set" in second["error"]
