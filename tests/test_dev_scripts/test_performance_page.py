"""The tables of the documentation are what their files say."""

import json
import re
import shutil

import pytest
from conftest import REPOSITORY

from mmdet_lite.benchmark.measurement import fill_tables, targets_of

PAGES = [
    page
    for page in sorted((REPOSITORY / "docs").glob("*.md"))
    if re.search("<!-- (measured|targets):", page.read_text())
]


def test_there_are_pages():
    assert PAGES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_its_measurements(page, tmp_path):
    shutil.copytree(page.parent, tmp_path / "docs")
    fill_tables(tmp_path / "docs" / page.name)
    assert (tmp_path / "docs" / page.name).read_text() == page.read_text()


@pytest.fixture
def write_targets(tmp_path):
    """Function that writes a target of 3 / 2 seconds and returns its file."""
    rows = [
        {"subject": name, "time": {"median": seconds}}
        for name, seconds in (("slow", 3.0), ("fast", 2.0))
    ]
    (tmp_path / "run.json").write_text(json.dumps({"rows": rows}))

    def write(**target):
        sides = {
            side: {"file": "run", "row": {"subject": name}}
            for side, name in (("of", "slow"), ("to", "fast"))
        }
        plan = {
            "columns": [
                {"title": "here", "suffix": ""},
                {"title": "there", "suffix": "-there"},
            ],
            "targets": [{"what": "w", "goal": "g", **sides, **target}],
        }
        path = tmp_path / "targets.json"
        path.write_text(json.dumps(plan))
        return path

    return write


def test_a_met_target_shows_its_ratio(write_targets):
    line = targets_of(write_targets(at_least=1.5)).splitlines()[-1]
    assert line == "| w | g | 1.5× | not measured |  |"


def test_a_missed_target_stands_out_and_has_a_reason(write_targets):
    line = targets_of(write_targets(at_most=1.4, why="no reason")).splitlines()[-1]
    assert line == "| w | g | **1.5** | not measured | no reason |"
    with pytest.raises(ValueError, match="'w' is missed, so it must say why"):
        targets_of(write_targets(at_most=1.4))


def test_a_met_target_has_no_excuse(write_targets):
    with pytest.raises(ValueError, match="'w' is met, so it must not say why"):
        targets_of(write_targets(at_most=1.6, why="because"))


def test_a_target_points_at_one_row(write_targets):
    side = {"file": "run", "row": {}}
    with pytest.raises(ValueError, match=r"run\.json has 2 rows with {}"):
        targets_of(write_targets(at_most=1.6, of=side))
