"""The benchmark command measures what it says, and its files become tables."""

import subprocess
import sys
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from mmdet_lite.benchmark.measurement import load_measurement, markdown_of


def run_benchmark(repository, *arguments):
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "tools/benchmark.py", *map(str, arguments)],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def test_operator_rows_cover_every_backend(repository, tmp_path):
    file = tmp_path / "operator.json"
    arguments = ("--shape", 64, 64, "--queries", 5, "all", "--repeats", 1)
    printed = run_benchmark(repository, "operator", *arguments, "--json", file)
    rows = load_measurement(file)["rows"]
    backends = {row["backend"] for row in rows}
    assert "reference" in backends
    assert len(rows) == 3 * 2 * 2 * len(backends)
    assert {row["num_queries"] for row in rows} == {5, 85}
    assert all(row["max_error"] < 2e-5 for row in rows)
    assert all(row["time"]["median"] > 0 for row in rows)
    # The table that is printed is the one that the file gives later.
    assert run_benchmark(repository, "table", file) == printed


def test_encoder_rows_compare_with_their_matrix_multiplications(repository, tmp_path):
    file = tmp_path / "encoder.json"
    subjects = ("dino-stock", "lite-dino_h3l1-2p1x3")
    run_benchmark(
        repository,
        *("encoder", "--shape", 64, 64, "--repeats", 1, "--json", file),
        *("--subjects", *subjects, "--bfloat16", subjects[1]),
    )
    measurement = load_measurement(file)
    stock, lite, half = measurement["rows"]
    assert (stock["subject"], lite["subject"]) == subjects
    assert (half["subject"], half["dtype"]) == (subjects[1], "bfloat16 autocast")
    assert half["matmul_macs"] == lite["matmul_macs"]
    assert stock["difference"] == lite["difference"] == 0
    assert 0 < half["difference"] < 0.05
    assert 0 < lite["matmul_macs"] < 0.6 * stock["matmul_macs"]
    assert stock["matmul_time"]["median"] < stock["time"]["median"]
    table = markdown_of(measurement)
    assert "tools/benchmark.py encoder" in table
    assert table.count("\n|") == 1 + 3  # below the header: a rule and three rows


def test_training_rows_compare_operators(repository, tmp_path):
    file = tmp_path / "training.json"
    config = "configs/lite_detr/lite-dino_h3l1-2p1x3_r18_1xb2-8e_bccd.py"
    run_benchmark(
        repository,
        *("training", "--config", config, "--shape", 96, 128, "--repeats", 1),
        *("--stock-type", "DINO", "--json", file),
    )
    rows = load_measurement(file)["rows"]
    assert [row["subject"].split(", ", 1)[1] for row in rows] == [
        "DINO of mmdet",
        "LiteDINO, reference operator",
        "LiteDINO, auto operator",
    ]


def test_what_was_not_measured_is_said():
    row = {
        "subject": "a",
        "dtype": "float32",
        "time": {"median": 1.0, "min": 1.0, "max": 1.0},
        "peak_memory": None,
    }
    measurement = {
        "kind": "model",
        "command": "c",
        "image_shape": [1, 1],
        "batch": 1,
        "repeats": 1,
        "environment": {
            "processor": "p",
            "threads": 1,
            "device": "cpu",
            "versions": {"torch": "2"},
        },
        "rows": [row],
    }
    assert "not measured" in markdown_of(measurement)


def test_accuracy_rows_are_of_both_precisions(
    repository, digits_root, tmp_path, monkeypatch
):
    monkeypatch.setenv("DIGITS_ROOT", str(digits_root))
    config = "configs/lite_detr/lite-dino_h3l1-2p1x3_r18_1xb4-3e_digits.py"
    model = MODELS.build(Config.fromfile(repository / config).model)
    torch.save({"state_dict": model.state_dict(), "meta": {}}, tmp_path / "new.pth")
    file = tmp_path / "accuracy.json"
    printed = run_benchmark(
        repository,
        *("accuracy", "--config", config, "--checkpoint", tmp_path / "new.pth"),
        *("--json", file),
    )
    rows = load_measurement(file)["rows"]
    assert [row["dtype"] for row in rows] == ["float32", "autocast"]
    assert all(0 <= row["metrics"]["coco/bbox_mAP"] < 0.5 for row in rows)
    assert f"| {Path(config).stem} | autocast | " in printed
