"""Reports count what the runs say."""

import json
import shutil

import pytest
from python_process import run_python

from mmdet_lite.errors import ConfigError
from mmdet_lite.experiments.comparison import keeps, load_runs
from mmdet_lite.experiments.curves import plot_curves
from mmdet_lite.experiments.errors import KINDS
from mmdet_lite.experiments.page import fill_page
from mmdet_lite.experiments.tables import (
    table,
    table_of_classes,
    table_of_proposals,
    table_of_reruns,
)
from mmdet_lite.run_logs import METRICS


def run(model, seed, ap, data="cells"):
    metrics = {**dict.fromkeys(METRICS, ap), "APs": None}
    return {
        "model": model,
        "data": data,
        "seed": seed,
        **metrics,
        "by_class": {"cat": ap, "dog": ap / 2},
        "by_epoch": [{"epoch": 1, **metrics}, {"epoch": 2, **metrics}],
        "encoder_gflops": 4.5,
        "environment": {"commit": f"of{seed}"},
    }


RUNS = [
    run("dino", 0, 50.0),
    run("dino", 1, 52.0),
    run("dino", 2, 60.0),
    run("lite", 0, 49.0),
    run("lite", 1, 51.0),
    run("lite", 3, 10.0),
    run("plain", 7, 40.0),
]


def test_only_shared_seeds_are_compared():
    kept = keeps(RUNS, "cells", "lite", "dino")
    assert kept["seeds"] == 2
    assert kept["ratio"] == pytest.approx(100 / 102)
    assert kept["difference"] == pytest.approx(-1)
    # Two pairs are no sample: their range is said.
    assert kept["interval"] == "range"
    assert kept["difference_interval"] == pytest.approx([-1, -1])
    assert kept["ratio_interval"] == pytest.approx([49 / 50, 51 / 52])


def test_an_interval_covers_the_spread_of_the_pairs():
    runs = [run("a", seed, 50 + seed) for seed in range(5)]
    runs += [run("b", seed, 50.0) for seed in range(5)]
    kept = keeps(runs, "cells", "a", "b")
    low, high = kept["difference_interval"]
    assert kept["interval"] == "95 % interval"
    assert 0 < low < 2 < high < 4


def test_a_metric_that_no_object_has_is_not_compared():
    with pytest.raises(ConfigError, match="runs of lite and dino on cells have no APs"):
        keeps(RUNS, "cells", "lite", "dino", "APs")


def test_models_without_a_shared_seed_are_refused():
    with pytest.raises(ConfigError, match="plain and dino share no seed on cells"):
        keeps(RUNS, "cells", "plain", "dino")


def test_a_table_has_means_deviations_and_gaps():
    rows = table(RUNS, "cells", ["dino", "lite", "plain", "none"]).splitlines()
    assert "54.0 ± 5.3" in rows[2]
    assert "98.0% (98.0% to 98.1%) | -1.0 (-1.0 to -1.0)" in rows[3]
    assert "–" in rows[3]  # no small object
    assert "| plain | 1 | 40.0 |" in rows[4]
    assert "no shared seed" in rows[4]
    assert rows[5].startswith("| none | not run |")


def test_a_table_of_means_compares_nothing():
    rows = table(RUNS, "cells", ["lite", "dino"], compare=False).splitlines()
    compared = table(RUNS, "cells", ["lite", "dino"]).splitlines()
    assert rows[0] == compared[0].replace("of lite's AP | difference in AP | ", "")
    assert "54.0 ± 5.3" in rows[3]
    assert all("(" not in row for row in rows)


def test_classes_are_told_apart():
    rows = table_of_classes(RUNS, "cells", ["dino", "plain"]).splitlines()
    assert rows[0] == "| model | seeds | cat | dog |"
    assert rows[2] == "| dino | 3 | 54.0 ± 5.3 | 27.0 ± 2.6 |"
    assert rows[3] == "| plain | 1 | 40.0 | 20.0 |"
    runs = [{**run, "by_class": {}} for run in RUNS]
    with pytest.raises(ConfigError, match="dino on cells has metrics by class"):
        table_of_classes(runs, "cells", ["dino"])


def write(folder, runs):
    folder.mkdir(exist_ok=True)
    for number, content in enumerate(runs):
        (folder / f"{number}.json").write_text(json.dumps(content))


def test_a_page_is_filled_again_and_again(tmp_path):
    write(tmp_path / "runs", RUNS)
    page = tmp_path / "page.md"
    page.write_text(
        "It keeps <!-- keeps: runs cells lite dino -->?<!-- end --> of it.\n"
        "<!-- runs: runs cells dino lite -->\n<!-- end -->\n"
        "<!-- means: runs cells lite -->\n<!-- end -->\n"
        "<!-- classes: runs cells dino -->\n<!-- end -->\n"
        "<!-- epochs: runs both cells dino lite -->\n<!-- end -->\n"
        "<!-- proposals: start end runs both cells dino lite -->\n<!-- end -->\n"
        "<!-- layers: . entropy a -->\n<!-- end -->\n"
        "<!-- errors: . b -->\n<!-- end -->\n"
        "<!-- reruns: runs again -->\n<!-- end -->\nAfter.\n"
    )
    # What was tested again on other data is another run's.
    others = [run("dino", seed, 9.0, data="boards") for seed in range(3)]
    write(tmp_path / "again", [run("dino", 1, 53.0)])
    write(tmp_path / "both", [run("dino", 1, 53.0), *others])
    for folder, share in (("start", 0.7), ("end", 1.0)):
        (tmp_path / folder).mkdir()
        shares = {"queries": [share, 1 - share], "levels": [share, 1 - share]}
        for name in ("lite_seed0", "dino_seed1"):
            file = tmp_path / folder / f"cells_{name}.json"
            file.write_text(json.dumps({**shares, "per_object": 4.81}))
    layers = [{"layer": "encoder.layers.0", "entropy": 0.25}]
    layers.append({"layer": "decoder.layers.0", "entropy": None})
    (tmp_path / "a.json").write_text(json.dumps({"layers": layers}))
    errors = {"AP50": 81.5, "cost": dict.fromkeys(KINDS, 5.14)}
    (tmp_path / "b.json").write_text(json.dumps(errors))
    fill_page(page)
    text = page.read_text()
    assert "98.0% (98.0% to 98.1% in 2 seeds)<!-- end --> of it" in text
    assert "| lite | 3 |" in text
    assert "| dino | 3 | 54.0 ± 5.3 | 27.0 ± 2.6 |" in text
    assert "| model | seed | 1 | 2 | retested |" in text
    assert "| dino | 1 | 52.0 | 52.0 | 53.0 |\n| dino | 2 | 60.0 | 60.0 | – |" in text
    assert (
        "| dino | 1 | 70% | 100% | 0% | 4.8 | 52.0 | 52.0 | 53.0 |\n"
        "| lite | 0 | 70% | 100% | 0% | 4.8 | 49.0 | 49.0 | – |\n"
    ) in text
    assert "| run | encoder 0 | decoder 0 |" in text
    assert "| a | 0.25 | – |" in text
    assert "| run | AP50 | classification | localisation |" in text
    assert f"| b | 81.5 |{' 5.1 |' * len(KINDS)}\n" in text
    assert "| cells | dino | 1 | 52.0 | of1 | 53.0 | of1 | 54.0 ± 5.3 |" in text
    assert text.endswith("\nAfter.\n")
    fill_page(page)
    assert page.read_text() == text


def test_what_was_repeated_was_run_before():
    with pytest.raises(ConfigError, match="no run of plain on cells has seed 0"):
        table_of_reruns(RUNS, [run("plain", 0, 1.0)])


def test_models_whose_proposals_were_not_counted_are_named(tmp_path):
    with pytest.raises(ConfigError, match="no run of lite has its proposals counted"):
        table_of_proposals(tmp_path, tmp_path, RUNS, [], "cells", ["lite"])


def test_runs_are_read_from_a_folder_and_drawn(tmp_path):
    with pytest.raises(ConfigError, match="holds no results"):
        load_runs(tmp_path)
    write(tmp_path, RUNS)
    runs = load_runs(tmp_path)
    assert runs == RUNS
    plot_curves(runs, "cells", ["dino", "lite"], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_what_cannot_be_drawn_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="Format 'cat' is not supported"):
        plot_curves(RUNS, "cells", ["dino"], tmp_path / "curves.cat")
    with pytest.raises(ConfigError, match=r"curves\.png cannot be written: .*No such"):
        plot_curves(RUNS, "cells", ["dino"], tmp_path / "none" / "curves.png")
    tested = [{k: v for k, v in run.items() if k != "by_epoch"} for run in RUNS]
    with pytest.raises(ConfigError, match="dino on cells was tested once"):
        plot_curves(tested, "cells", ["dino"], tmp_path / "curves.png")


def test_curves_go_to_a_new_folder_or_are_refused_in_a_line(repository, tmp_path):
    write(tmp_path / "runs", RUNS)

    def plot(picture):
        command = ("plot", tmp_path / "runs", picture, "cells", "dino")
        return run_python(repository / "tools" / "experiments" / "report.py", *command)

    picture = tmp_path / "new" / "curves.png"
    assert plot(picture).returncode == 0
    assert picture.is_file()
    result = plot(picture / "curves.png")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: picture {picture} cannot be written to")


def test_the_page_of_evidence_says_what_its_runs_say(repository, tmp_path):
    docs = tmp_path / "docs"
    shutil.copytree(repository / "docs", docs)
    fill_page(docs / "evidence.md")
    page = (repository / "docs" / "evidence.md").read_text()
    assert (docs / "evidence.md").read_text() == page
