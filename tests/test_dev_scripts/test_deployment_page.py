"""The page of deployment shows what the verifications wrote."""

import json
import shutil

import pytest
import torch
from deployment_page import exports_table, fill_page

from mmdet_lite.benchmark.environment import describe_environment

ENVIRONMENT = describe_environment(torch.device("cpu"))


@pytest.fixture
def docs(repository, tmp_path):
    """A copy of the page and its measurements."""
    return shutil.copytree(repository / "docs", tmp_path / "docs")


def test_a_new_measurement_changes_the_page(docs):
    file = sorted((docs / "measurements" / "export").iterdir())[0]
    measurement = json.loads(file.read_text())
    measurement["bytes"] = 123_400_000
    measurement["rows"][0].update(box=0.5, misses=7)
    file.write_text(json.dumps(measurement))
    fill_page(docs / "deployment.md")
    page = (docs / "deployment.md").read_text()
    assert "| 123.4 |" in page
    assert "| 7 | 5e-01 |" in page


def test_filling_again_changes_nothing(docs):
    page = docs / "deployment.md"
    written = page.read_text()
    fill_page(page)
    assert page.read_text() == written


def test_objects_of_a_batch_are_those_of_single_images():
    row = {"runtime": "r", "image_shape": [9, 9], "images": 2, "objects": 5}
    row |= {"misses": 1, "box": 0.1, "score": 0.1}
    measurement = {
        **{"model": "m", "name": "n", "format": "onnx", "shape": None, "bytes": 1e6},
        "environment": ENVIRONMENT,
        "rows": [{**row, "batch": batch} for batch in (1, 2)],
    }
    table = exports_table([measurement])
    assert "| 9×9 | 1, 2 | 2 | 5 | 2 |" in table
