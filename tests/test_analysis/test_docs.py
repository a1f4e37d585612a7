"""The tables of the documentation are what their files say."""

import shutil

import pytest
from conftest import REPOSITORY

from mmdet_lite.analysis.report import fill_tables

PAGES = [
    page
    for page in sorted((REPOSITORY / "docs").glob("*.md"))
    if "<!-- measured:" in page.read_text()
]


def test_there_are_pages():
    assert PAGES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_its_measurements(page, tmp_path):
    shutil.copytree(page.parent, tmp_path / "docs")
    fill_tables(tmp_path / "docs" / page.name)
    assert (tmp_path / "docs" / page.name).read_text() == page.read_text()
