"""The page of performance shows what its files say, whatever they say."""

import json
import re
import shutil

import pytest
from performance_page import BARS, HEADLINES, fill_page, plot_headlines

from mmdet_lite.errors import ConfigError


@pytest.fixture
def docs(repository, tmp_path):
    """A copy of the page and its measurements."""
    return shutil.copytree(repository / "docs", tmp_path / "docs")


def test_a_new_measurement_changes_the_page(docs):
    file = docs / HEADLINES[0].file
    measurement = json.loads(file.read_text())
    for row in measurement["rows"]:
        # Lite-DINO as slow as it never was: a page has no opinion.
        seconds = 1.0 if row["subject"] == HEADLINES[0].stock else 8.0
        row["time"] = {"median": seconds, "min": seconds, "max": seconds}
    measurement["environment"].update(
        instruction_set="AVX2", bfloat16_instructions=False, caches={"L2": 2**19}
    )
    measurement.update(image_shape=[96, 128], batch=2, seed=7)
    file.write_text(json.dumps(measurement))
    fill_page(docs / "performance.md")
    page = (docs / "performance.md").read_text()
    assert f"| {HEADLINES[0].what} | 2 of 96×128 | 1.00 s | 8.00 s | 0.1× |" in page
    assert "8,000.0 (8,000.0–8,000.0)" in page
    assert "(AVX2, no bfloat16, L2 0.5 MiB)" in page
    assert "seed 7" in page


def test_filling_again_changes_nothing(docs):
    page = docs / "performance.md"
    fill_page(page)
    once = page.read_text()
    fill_page(page)
    assert page.read_text() == once


def test_the_page_shows_every_measurement(repository):
    page = (repository / "docs" / "performance.md").read_text()
    shown = set(re.findall("<!-- measured: (.+) -->", page))
    assert {headline.file for headline in HEADLINES} <= shown
    assert all((repository / "docs" / file).is_file() for file in shown)
    assert f"({BARS})" in page


def test_a_measurement_without_a_row_of_the_headline_is_refused(docs):
    file = docs / HEADLINES[-1].file
    measurement = json.loads(file.read_text())
    measurement["rows"] = [
        row for row in measurement["rows"] if row["subject"] != HEADLINES[-1].stock
    ]
    file.write_text(json.dumps(measurement))
    with pytest.raises(ConfigError, match=r"training-.*\.json has 0 rows of .*'train"):
        fill_page(docs / "performance.md")


def test_bars_are_drawn(docs):
    image = docs / BARS
    image.unlink(missing_ok=True)
    plot_headlines(docs, image)
    assert image.stat().st_size > 10_000
