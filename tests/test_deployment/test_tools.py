"""From a config and weights to pictures, by the commands."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
from mmdet.registry import MODELS
from tiny import photograph, spread_scores, tiny_config

# Runs infer.py, then looks at what it has imported.
INFER = """
import runpy, sys
sys.argv = ["infer.py", *sys.argv[1:]]
try:
    runpy.run_path("tools/deployment/infer.py", run_name="__main__")
finally:
    names = {name.split(".")[0] for name in sys.modules}
    assert not names & {"mmdet", "mmcv", "mmengine", "mmdet_lite"}, names
"""


@pytest.fixture
def folder(small_config, tmp_path):
    """Config, weights and two photographs of a detector of a given family."""

    def write(family):
        torch.manual_seed(0)
        cfg = tiny_config(small_config, family)
        cfg.dump(tmp_path / "config.py")
        weights = spread_scores(MODELS.build(cfg.model)).state_dict()
        meta = {"dataset_meta": {"classes": ["cell", "cat", "dog"]}}
        torch.save({"state_dict": weights, "meta": meta}, tmp_path / "weights.pth")
        (tmp_path / "photos").mkdir()
        for name, seed in (("a.png", 1), ("b.png", 2)):
            pixels = photograph(96, 128, seed).permute(1, 2, 0).numpy()
            cv2.imwrite(str(tmp_path / "photos" / name), pixels)
        return tmp_path

    return write


def run(repository, *command):
    return subprocess.run(
        [sys.executable, "-W", "ignore", *map(str, command)],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )


def export(repository, folder, *options):
    return run(
        repository,
        *("tools/deployment/export.py", folder / "config.py", folder / "weights.pth"),
        *options,
    )


def test_an_onnx_file_is_exported_verified_and_run(repository, folder):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    here = folder("DINO")
    file, figures = here / "detector.onnx", here / "figures.json"
    result = export(
        repository,
        here,
        *("--format", "onnx", "--out", file, "--shape", 96, 128),
        *("--verify", here / "photos", "--json", figures),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 missed" in result.stdout
    measurement = json.loads(figures.read_text())
    assert measurement["bytes"] == file.stat().st_size
    (row,) = measurement["rows"]
    assert row["passed"]
    assert (row["image_shape"], row["images"]) == ([96, 128], 2)

    photo, small = here / "photos" / "a.png", here / "small.png"
    cv2.imwrite(str(small), cv2.imread(str(photo))[:32, :32])
    result = run(repository, "-c", INFER, file, small, "--out", here / "out")
    assert result.returncode == 2
    assert result.stderr.startswith("error: the file takes one image of 96×128")


def test_the_runner_may_lie_in_any_folder_and_names_a_file_in_its_way(
    repository, tmp_path
):
    for name in ("tools/deployment/infer.py", "mmdet_lite/deployment/runtime.py"):
        shutil.copy(repository / name, tmp_path)
    # As in /app, two folders below the root of all paths.
    shallow = f"""
import pathlib, runpy, sys
sys.argv = ["infer.py", *sys.argv[1:]]
real = pathlib.Path.parents
pathlib.Path.parents = property(lambda path: list(real.__get__(path))[:2])
runpy.run_path({str(tmp_path / "infer.py")!r}, run_name="__main__")
"""
    photo, file = tmp_path / "a.png", tmp_path / "file"
    cv2.imwrite(str(photo), photograph(96, 128, 1).permute(1, 2, 0).numpy())
    file.write_text("in the way")
    result = run(repository, "-c", shallow, "none.onnx", photo, "--out", file)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert str(file) in line


def test_what_cannot_be_exported_is_said_in_a_line(repository, folder):
    here = folder("DINO")
    (here / "file").write_text("in the way")
    out = here / "file" / "a.onnx"
    result = export(repository, here, "--format", "onnx", "--out", out)
    assert result.returncode == 2
    assert f"--out {here / 'file'} cannot be written to" in result.stderr
    result = export(repository, here, "--format", "torch", "--out", here / "a.pt2")
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == (
        "error: mmdet's DINO stops torch.export: take a Lite type, or --format onnx"
    )


@pytest.mark.slow
def test_a_package_runs_without_mmdet_and_without_python(repository, folder):
    here = folder("LiteDINO, NMS")
    file = here / "detector.pt2"
    result = export(
        repository,
        here,
        *("--format", "torch", "--out", file, "--shape", 96, 128),
        *("--verify", here / "photos"),
        *("--cfg-options", "test_dataloader.dataset.pipeline.1.scale=(128,96)"),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count(": ok") == 1
    result = run(
        repository,
        "-c",
        INFER,
        file,
        here / "photos",
        "--score",
        0,
        "--out",
        here / "o",
    )
    assert result.returncode == 0, result.stderr
    results = json.loads((here / "o" / "results.json").read_text())
    assert len(results) == 2
    assert cv2.imread(str(here / "o" / "a.png")).shape == (96, 128, 3)

    if shutil.which("g++") is None:
        return
    program = build(repository / "tools/deployment/cpp/detect.cpp", here / "detect")
    image = cv2.imread(str(here / "photos" / "a.png"))
    cv2.imwrite(str(here / "a.ppm"), image)
    result = subprocess.run(
        [program, "detector.pt2", "detector.ops.so", "a.ppm"],
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    expected = results[str(here / "photos" / "a.png")]
    lines = [line.split() for line in result.stdout.splitlines()]
    assert len(lines) == len(expected) > 0
    for (label, score, *box), found in zip(lines, expected, strict=True):
        assert int(label) == found["label"]
        assert float(score) == pytest.approx(found["score"], abs=1e-4)
        assert list(map(float, box)) == pytest.approx(found["box"], abs=0.02)


def build(source, program):
    """Compile the C++ example for the PyTorch at hand."""
    torch_root = Path(torch.__file__).parent
    includes = [torch_root / "include", torch_root / "include/torch/csrc/api/include"]
    libraries = torch_root / "lib"
    subprocess.run(
        [
            *("g++", "-std=c++20", source, "-o", program),
            *(f"-I{folder}" for folder in includes),
            *(f"-L{libraries}", f"-Wl,-rpath,{libraries}", "-Wl,--no-as-needed"),
            *("-ltorch", "-ltorch_cpu", "-lc10", "-ldl"),
        ],
        check=True,
    )
    return program
