"""The benchmark command measures what it says, and its files become tables."""

import shutil
import subprocess
import sys
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from python_process import run_python

from mmdet_lite.benchmark.environment import describe_environment, machine_slug
from mmdet_lite.benchmark.measurement import load_measurement, markdown_of


def start_benchmark(repository, *arguments):
    return run_python("tools/benchmark.py", *arguments, cwd=repository)


def run_benchmark(repository, *arguments):
    result = start_benchmark(repository, *arguments)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def test_operator_rows_cover_every_backend(repository, tmp_path):
    arguments = ("--shape", 64, 64, "--queries", 5, "all", "--repeats", 1)
    printed = run_benchmark(repository, "operator", *arguments, "--json", tmp_path)
    # In a folder the file is named after the machine.
    (file,) = tmp_path.glob("operator-*.json")
    measurement = load_measurement(file)
    assert file.name == f"operator-{machine_slug(measurement['environment'])}.json"
    assert measurement["seed"] == 0
    rows = measurement["rows"]
    backends = {row["backend"] for row in rows}
    assert "reference" in backends
    assert len(rows) == 4 * 2 * 2 * len(backends)
    assert {row["num_queries"] for row in rows} == {5, 85}
    assert all(row["max_error"] < 2e-5 for row in rows)
    assert all(row["time"]["median"] > 0 for row in rows)
    # The table that is printed is the one that the file gives later.
    assert run_benchmark(repository, "table", file) == printed


def test_a_dirty_tree_writes_nothing_under_its_docs(repository, tmp_path):
    (tmp_path / "tools").mkdir()
    shutil.copy(repository / "tools" / "benchmark.py", tmp_path / "tools")
    for command in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    arguments = ("--shape", 64, 64, "--queries", 5, "--repeats", 1)
    result = start_benchmark(
        tmp_path, "operator", *arguments, "--json", "docs/measurements"
    )
    assert result.returncode == 2
    last_line = result.stderr.strip().splitlines()[-1]
    assert last_line.startswith("error: docs/measurements/operator-")
    assert "not committed: tools/benchmark.py" in last_line
    assert not (tmp_path / "docs").exists()


def test_encoder_rows_compare_with_their_products(repository, tmp_path):
    file = tmp_path / "encoder.json"
    config = "configs/lite_detr/lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py"
    subjects = ("dino-stock", config)
    run_benchmark(
        repository,
        *("encoder", "--shape", 64, 64, "--repeats", 1, "--json", file),
        *("--subjects", *subjects, "--bfloat16", subjects[1]),
    )
    measurement = load_measurement(file)
    stock, lite, half = measurement["rows"]
    assert (stock["subject"], lite["subject"]) == ("dino-stock", Path(config).stem)
    assert (lite["config"], lite["options"]) == (config, {})
    assert (half["subject"], half["dtype"]) == (lite["subject"], "bfloat16 autocast")
    assert half["product_macs"] == lite["product_macs"]
    assert stock["difference"] == lite["difference"] == 0
    assert 0 < half["difference"] < 0.05
    assert 0 < lite["product_macs"] < 0.6 * stock["product_macs"]
    # Which of the two takes longer is no test's business on a busy machine.
    assert stock["product_time"]["median"] > 0
    table = markdown_of(measurement)
    assert "tools/benchmark.py encoder" in table
    assert table.count("\n|") == 1 + 3  # below the header: a rule and three rows


def test_a_subject_that_is_neither_known_nor_a_config_is_refused(repository):
    result = subprocess.run(
        [sys.executable, "tools/benchmark.py", "encoder", "--subjects", "dino-stuck"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "error: there is no config dino-stuck" in result.stderr


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
    stock, reference, best = rows
    assert 0 < best["product_macs"] == reference["product_macs"]
    assert best["product_macs"] < stock["product_macs"]
    assert best["kept"]["encoder"] < reference["kept"]["encoder"]
    assert {"backbone", "encoder", "decoder", "bbox_head"} < best["kept"].keys()


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
        "seed": 0,
        "environment": describe_environment(torch.device("cpu")),
        "rows": [row],
    }
    assert "not measured" in markdown_of(measurement)


def test_accuracy_rows_are_of_both_precisions(
    repository, digits_root, tmp_path, monkeypatch
):
    monkeypatch.setenv("DIGITS_ROOT", str(digits_root))
    config = "configs/lite_detr/lite-dino_h3l1-2p1x3_r18_1xb4-3e_digits.py"
    model = MODELS.build(Config.fromfile(repository / config).model)
    model.init_weights()
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


def test_scaling_rows_are_of_every_size_by_every_number_of_threads(
    repository, tmp_path
):
    file = tmp_path / "scaling.json"
    printed = run_benchmark(
        repository,
        *("scaling", "--sides", 64, 96, "--threads", 1, 2, "--repeats", 1),
        *("--json", file),
    )
    measurement = load_measurement(file)
    rows = measurement["rows"]
    assert [(row["image_shape"], row["threads"]) for row in rows] == [
        ([64, 64], 1),
        ([96, 96], 1),
        ([64, 64], 2),
        ([96, 96], 2),
    ]
    assert [row["num_tokens"] for row in rows[:2]] == [
        64 + 16 + 4 + 1,
        144 + 36 + 9 + 4,
    ]
    assert markdown_of(measurement) in printed
    assert "speed-up over 1 threads" in printed
