"""The page says what the soak run left, losses first."""

import json
import shutil

import torch
from reliability_page import (
    annotations_table,
    fill_page,
    memory_table,
    need_table,
    soak_table,
)

from mmdet_lite.benchmark.environment import describe_environment
from mmdet_lite.benchmark.measurement import conditions_of

SOAK = {
    "minutes": 30.04,
    "rounds": 3,
    "iterations": 24,
    "tensors": 700,
    "resumptions": 40,
    "iterations_repeated": 12,
    "injected": {"kill": 30, "flip": 10},
    "survived": {"kill": 30, "flip": 10},
    "lost": [],
    "half_written": {"checkpoint": 5},
    "saved_on_signal": 4,
}


def test_the_table_counts_every_fault():
    table = soak_table(SOAK)
    assert "through 40 faults" in table
    assert "| kill | 30 | 30 |" in table
    assert "| all | 40 | 40 |" in table
    assert "Lost: nothing" in table
    assert "5 kills left a half-written checkpoint behind, 0 a half-written" in table
    assert "4 signals came amid an epoch" in table


def test_a_loss_is_not_passed_over():
    lost = {**SOAK, "survived": {"kill": 29, "flip": 10}, "lost": ["a tensor differs"]}
    assert "was lost: a tensor differs" in soak_table(lost)
    assert "bit for bit" not in soak_table(lost)


def test_the_page_is_written_anew(tmp_path):
    page = tmp_path / "page.md"
    (tmp_path / "soak.json").write_text(json.dumps(SOAK))
    page.write_text("a\n<!-- soak: soak.json -->\nold\n<!-- end -->\nb\n")
    fill_page(page)
    once = page.read_text()
    assert "old" not in once
    fill_page(page)
    assert page.read_text() == once


def test_the_page_shows_the_files(repository, tmp_path):
    docs = shutil.copytree(repository / "docs", tmp_path / "docs")
    page = docs / "reliability.md"
    written = page.read_text()
    fill_page(page)
    assert page.read_text() == written


def test_memory_is_shown_run_by_run():
    lines = [
        {"images": count, "allocated": 5, "resident": count}
        for count in (1, 50, 100, 200, 300, 500, 700, 900, 1000, "trimmed")
    ]
    table = memory_table({"runs": {"as it is": lines}})
    assert "| as it is, allocated | 5 | 5 |" in table
    assert "| as it is, resident | 1 | 50 | 100 |" in table
    assert table.endswith("| 700 | 1000 | trimmed |\n")


def test_a_table_says_where_and_by_what_it_was_measured_as_far_as_known():
    row = {"model": "DINO", "shape": [800, 1066], "said": 2**30, "grown": 2**31}
    alone = need_table({"rows": [row]})
    assert alone.endswith(" |\n")
    where = {"environment": describe_environment(torch.device("cpu"))}
    known = need_table({"rows": [row], **where})
    assert known == f"{alone}\n*{conditions_of(where['environment'])}.*\n"
    known = need_table({"rows": [row], **where, "command": "python it"})
    assert known.endswith("; `python it`.*\n")
    assert soak_table({**SOAK, "command": "python it"}).endswith("\n*`python it`.*\n")


def test_what_was_said_stands_beside_what_was_taken():
    row = {"model": "DINO", "shape": [800, 1066], "said": 2**30, "grown": 2**31}
    assert "| DINO | 800×1066 | 1,024 | 2,048 | 2.0 |" in need_table({"rows": [row]})


def test_each_process_of_a_run_has_a_row():
    first = {"check_seconds": 9.6, "load_seconds": 20.2, "peak_bytes": 3 * 2**30}
    measurement = {
        "bytes": 415_600_000,
        "images": 118_287,
        "annotations": 860_001,
        "environment": describe_environment(torch.device("cpu")) | {"cores": 2},
        "runs": {"kind": [first, {**first, "check_seconds": 0, "peak_bytes": 2**20}]},
    }
    table = annotations_table(measurement)
    assert "860,001 annotations of 118,287 images, 416 MB, on 2 cores:" in table
    assert "| kind | 0 | 10 | 20 | 3,072 |" in table
    assert "| kind | 1 | 0 | 20 | 1 |" in table
