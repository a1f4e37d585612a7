"""The model zoo says what was published and measured, of every config."""

import itertools
import json
import re
import shutil
import subprocess
import sys

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from mmengine.config import Config
from mmengine.fileio import load
from zoo import configs_of, read_zoo, rows_of
from zoo_measurements import measure_complexity, read_training
from zoo_page import readme_of, write_zoo
from zoo_plot import draw_published

from mmdet_lite.benchmark.environment import describe_environment
from mmdet_lite.errors import ConfigError

# Largest difference from the paper's totals that the counting rule allows.
TOLERANCES = {"dino": 0.02, "swin-t": 0.03, "h-detr": 0.03, "deformable-detr_": 0.06}


@pytest.fixture
def copy_of_docs(repository, tmp_path):
    """A copy of what the zoo is made of."""
    for part in ("configs", "docs"):
        shutil.copytree(repository / part, tmp_path / part)
    return tmp_path


def test_the_page_has_a_row_of_every_config(copy_of_docs):
    folder = copy_of_docs / "configs" / "lite_detr"
    write_zoo(copy_of_docs)
    page = (folder / "README.md").read_text()
    links = set(re.findall(r"\[config\]\(\./(.+?)\)", page))
    assert links == {path.name for path in folder.glob("*.py")}
    metafile = (folder / "metafile.yml").read_text()
    write_zoo(copy_of_docs)
    assert (folder / "README.md").read_text() == page
    assert (folder / "metafile.yml").read_text() == metafile


def test_links_of_the_page_lead_somewhere(repository):
    page = repository / "configs" / "lite_detr" / "README.md"
    for link in re.findall(r"\]\((?!https?:)(.+?)\)", page.read_text()):
        assert (page.parent / link).exists(), link


@pytest.fixture
def cells_of():
    """Function that gives a row's cells by column, from little measurements."""

    def cells(row, trained=None, timed=()):
        counts = {"total": 2e9, "params": 3e6, "uncounted": {}}
        measured = {
            "image_shape": [8, 8],
            "complexity": {row["config"]: counts},
            "latency": {
                "rows": list(timed),
                "image_shape": [8, 8],
                "environment": describe_environment(torch.device("cpu")),
            },
            "trained": {} if trained is None else {row["config"]: trained},
        }
        page = readme_of({"tables": [{"title": "t", "rows": [row]}]}, measured)
        lines = page.split("## t")[1].splitlines()
        header, _, cells = (line.strip("| ").split(" | ") for line in lines if line)
        return dict(zip(header, cells, strict=True))

    return cells


def test_accuracy_of_the_paper_is_told_from_that_reached_here(cells_of):
    row = {"model": "m", "config": "m.py"}
    assert cells_of(row)["AP"] == "–"
    row["paper"] = {"AP": [50.4, 68.5, 54.6, 33.5, 53.6, 65.5], "GFLOPs": 151}
    assert cells_of(row)["AP"] == "*50.4*"
    assert cells_of(row)["APs"] == "*33.5*"
    trained = {"metrics": {"coco/bbox_mAP": 0.466, "coco/bbox_mAP_s": -1.0}}
    cells = cells_of(row, trained)
    assert (cells["AP"], cells["APs"]) == ("46.6", "–")


def test_latency_is_of_exactly_the_config(cells_of):
    row = {"model": "m", "config": "m.py"}
    time = {"time": {"median": 1.234}, "dtype": "float32"}
    other = {**time, "config": "configs/other.py", "options": {}}
    changed = {**time, "config": "configs/m.py", "options": {"model.type": "DINO"}}
    bfloat16 = {**time, "config": "configs/m.py", "options": {}, "dtype": "bfloat16"}
    assert cells_of(row, timed=[other, changed, bfloat16])["latency, s"] == "–"
    exact = {**time, "config": "configs/m.py", "options": {}}
    assert cells_of(row, timed=[other, exact])["latency, s"] == "1.23"


def test_a_config_without_a_row_is_named(copy_of_docs):
    (copy_of_docs / "configs" / "lite_detr" / "forgotten.py").touch()
    with pytest.raises(ConfigError, match=r"differ: forgotten\.py"):
        read_zoo(copy_of_docs)


def test_a_row_leads_to_its_run_and_a_run_that_is_gone_is_named(cells_of, copy_of_docs):
    row = {"model": "m", "config": "m.py"}
    column = "checkpoint or run"
    assert cells_of(row)[column] == "–"
    assert cells_of({**row, "run": "docs/a.json"})[column] == "[run](../../docs/a.json)"
    rows = rows_of(read_zoo(copy_of_docs))
    run = next(row["run"] for row in rows if "run" in row)
    (copy_of_docs / run).unlink()
    with pytest.raises(ConfigError, match=f"has no run {run}"):
        read_zoo(copy_of_docs)


def test_mim_finds_every_config(repository):
    root = repository / "mmdet_lite" / ".mim"
    (metafile,) = load(root / "model-index.yml")["Import"]
    index = load(root / metafile)
    names = [model["Name"] for model in index["Models"]]
    assert len(set(names)) == len(names)
    collections = {collection["Name"] for collection in index["Collections"]}
    for collection in index["Collections"]:
        assert (root / collection["README"]).is_file()
    for model in index["Models"]:
        assert model["In Collection"] in collections
        assert (root / model["Config"]).stem == model["Name"]
        assert Config.fromfile(root / model["Config"]).model
    configs = {path.stem for path in (repository / "configs/lite_detr").glob("*.py")}
    assert set(names) == configs


def test_the_wheel_has_what_mim_reads(repository):
    script = (
        "from setuptools import Distribution\n"
        "distribution = Distribution()\n"
        "distribution.parse_config_files(['setup.cfg'])\n"
        "command = distribution.get_command_obj('build_py')\n"
        "command.ensure_finalized()\n"
        "print(*(n for _, _, _, names in command.data_files for n in names), sep='\\n')"
    )
    shipped = set(
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script],
            cwd=repository,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
    )
    for path in (repository / "configs").rglob("*"):
        if path.suffix in (".py", ".yml", ".md") and "__pycache__" not in path.parts:
            assert f".mim/{path.relative_to(repository)}" in shipped
    assert ".mim/tools/train.py" in shipped
    assert ".mim/model-index.yml" in shipped


def test_totals_are_those_of_the_paper(repository):
    counts = load(repository / "docs" / "measurements" / "complexity.json")
    assert counts["image_shape"] == [800, 1066]
    checked = set()
    for row in rows_of(read_zoo(repository)):
        config = row["config"]
        tolerance = max(
            (tolerance for key, tolerance in TOLERANCES.items() if key in config),
            default=None,
        )
        # The published rows of Deformable DETR are of the form of one stage.
        if "paper" not in row or "deformable-detr-refine" in config:
            continue
        total = counts["complexity"][config]["total"]
        assert total == pytest.approx(row["paper"]["GFLOPs"] * 1e9, rel=tolerance)
        checked.add(config)
    assert len(checked) == 4 + 4 + 6 + 4
    for levels, paper in ((3, 120.6e9), (2, 92.1e9)):
        total = counts["complexity"][f"dino-{levels}scale_r50_8xb2-36e_coco.py"][
            "total"
        ]
        assert total == pytest.approx(paper, rel=0.02)


@pytest.mark.parametrize(
    "name",
    [
        "dino-2scale_r50_8xb2-36e_coco.py",
        "lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py",
        "lite-h-detr_h2l2-2p1x3_swin-t_8xb2-36e_coco.py",
    ],
)
def test_the_counts_are_those_of_the_configs_of_today(
    repository, dino_of_the_zoo, name
):
    recorded = load(repository / "docs" / "measurements" / "complexity.json")
    count = measure_complexity(repository, name, (800, 1066))
    assert count == recorded["complexity"][name]


def test_every_config_was_counted_whole(repository):
    recorded = load(repository / "docs" / "measurements" / "complexity.json")
    assert list(recorded["complexity"]) == configs_of(read_zoo(repository))
    for count in recorded["complexity"].values():
        assert not count["uncounted"]


def test_metrics_of_a_training_are_those_of_its_last_evaluation(tmp_path):
    folder = tmp_path / "20260101_000000" / "vis_data"
    folder.mkdir(parents=True)
    lines = [{"coco/bbox_mAP": 0.1, "step": 1}, {"loss": 2.0, "step": 7}]
    lines.append({"coco/bbox_mAP": 0.3, "coco/bbox_mAP_50": 0.5, "step": 2})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "scalars.json").write_text(text)
    with pytest.raises(ConfigError, match="is not the work dir of one training"):
        read_training(tmp_path)
    (tmp_path / "config.py").touch()
    assert read_training(tmp_path) == {
        "config": "config.py",
        "epoch": 2,
        "metrics": {"coco/bbox_mAP": 0.3, "coco/bbox_mAP_50": 0.5},
    }
    (folder / "scalars.json").write_text(json.dumps(lines[1]))
    with pytest.raises(ConfigError, match="has no evaluation"):
        read_training(tmp_path)


def test_metrics_of_a_test_are_read_as_well(tmp_path):
    folder = tmp_path / "20260101_000000"
    folder.mkdir()
    found = {"coco/bbox_mAP": 0.3, "latency/median_ms": 7.0}
    (folder / f"{folder.name}.json").write_text(json.dumps(found))
    (tmp_path / "config.py").touch()
    assert read_training(tmp_path) == {
        "config": "config.py",
        "epoch": None,
        "metrics": {"coco/bbox_mAP": 0.3},
    }


def test_no_label_of_the_plot_lies_on_another_or_on_a_mark(repository):
    figure = draw_published(read_zoo(repository))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (axes,) = figure.axes
    boxes = [label.get_window_extent(canvas.get_renderer()) for label in axes.texts]
    assert len(boxes) == len(read_zoo(repository)["others"])
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    marks = [*axes.collections[0].get_offsets()]
    marks += [point for line in axes.lines for point in line.get_xydata()]
    for mark in axes.transData.transform(marks):
        assert not any(box.contains(*mark) for box in boxes)
