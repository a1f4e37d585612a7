"""Write the model zoo's page and its metafile."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmengine.fileio import dump
from zoo import CONFIG_FOLDER, read_zoo, rows_of

from mmdet_lite.benchmark.measurement import load_measurement
from mmdet_lite.errors import ConfigError
from mmdet_lite.markdown import markdown_table

PAPER = "https://arxiv.org/abs/2303.07335"
PAPER_TITLE = "Lite DETR: An Interleaved Multi-Scale Encoder for Efficient DETR"

_INTRODUCTION = """\
# Model zoo

<!-- Written by .dev_scripts/model_zoo.py; edit model_zoo.yml. -->

> [{title}]({url})

AP is the paper's, on COCO val2017: **nothing was trained on COCO here yet**, so there
are no checkpoints and no logs of it. GFLOPs (multiply-accumulates) and parameters are
counted here by `tools/analysis_tools/get_flops.py` on an image of {counted_shape}, and
stand beside the paper's. The paper's rule for the encoder leaves sampling and the query
projection of key-aware attention out.

Latency: one image of {timed_shape} in float32 on {threads} threads of {processor}; DINO
as mmdet runs it. More in [docs/performance.md](../../docs/performance.md).

Status: *counted*: the config builds, and a test trains a step and predicts with it,
reduced in size; *converts*: besides, weights go to the official code's layout and come
back bit-identical; *trained here*: with these metrics on the data set of its name.
"""

_HEADER = (
    "model",
    "AP",
    "APs",
    "APm",
    "APl",
    "GFLOPs: here / paper",
    "encoder: here / by the paper's rule / paper",
    "params, M: here / paper",
    "latency, s",
    "status",
    "config",
    "checkpoint, log",
)


def readme_of(zoo: dict[str, Any], measured: dict[str, Any]) -> str:
    """Write the zoo's page.

    Args:
        zoo: see :func:`read_zoo`.
        measured: ``complexity``, by config what :func:`measure_complexity` gives, and
            its ``image_shape``; ``latency``, what ``tools/benchmark.py model`` wrote;
            ``trained``, by config what :func:`read_training` gives.
    """
    latency = measured["latency"]
    introduction = _INTRODUCTION.format(
        title=PAPER_TITLE,
        url=PAPER,
        counted_shape=_size(measured["image_shape"]),
        timed_shape=_size(latency["image_shape"]),
        threads=latency["environment"]["threads"],
        processor=latency["environment"]["processor"],
    )
    lines = [introduction]
    for table in zoo["tables"]:
        lines += [f"## {table['title']}", ""]
        if "note" in table:
            lines += [table["note"], ""]
        rows = (_cells(row, measured) for row in table["rows"])
        lines += [markdown_table(_HEADER, rows), ""]
    return "\n".join(lines)


def _size(shape: Iterable[int]) -> str:
    return "×".join(map(str, shape))


def _cells(row: dict[str, Any], measured: dict[str, Any]) -> list[str]:
    name = row["config"]
    counts = measured["complexity"][name]
    paper = row.get("paper", {})
    ap = paper.get("AP", ["–"] * 6)
    times = {
        subject["subject"]: subject["time"]["median"]
        for subject in measured["latency"]["rows"]
    }
    encoder = [counts["encoder"] / 1e9, counts["encoder_paper"] / 1e9]
    config = name if "::" in name else f"[config](./{name})"
    return [
        row["model"],
        *(str(ap[index]) for index in (0, 3, 4, 5)),
        _beside(counts["total"] / 1e9, paper.get("GFLOPs")),
        " / ".join([*(f"{g:.1f}" for g in encoder), str(paper.get("encoder", "–"))]),
        f"{counts['params'] / 1e6:.1f} / {paper.get('params', '–')}",
        f"{times[row['latency']]:.2f}" if row.get("latency") in times else "not run",
        _status(name, counts, measured["trained"].get(name)),
        config,
        "–",
    ]


def _beside(here: float, paper: float | None) -> str:
    if paper is None:
        return f"{here:.1f} / –"
    percent = round(100 * (here / paper - 1), 1)
    return f"{here:.1f} / {paper} ({percent or 0:+.1f} %)"


def _status(name: str, counts: dict[str, Any], training: dict[str, Any] | None) -> str:
    if counts["uncounted"]:
        raise ConfigError(f"{name} was not counted whole: {counts['uncounted']}")
    status = ["counted"]
    if counts["converts"]:
        status.append("converts")
    if training is not None:
        metrics = training["metrics"]
        status.append(
            f"trained here: AP {100 * metrics['coco/bbox_mAP']:.1f}, "
            f"AP50 {100 * metrics['coco/bbox_mAP_50']:.1f}"
        )
    return ", ".join(status)


def metafile_of(zoo: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
    """Describe the configs in the format of openmim.

    Arguments as :func:`readme_of`. Published AP is metadata and no result: there are no
    weights that would have it.
    """
    collection = "Lite DETR"
    models: dict[str, dict[str, Any]] = {}
    for row in rows_of(zoo):
        name = row["config"]
        if "::" in name or name in models:
            continue
        counts = measured["complexity"][name]
        metadata = {
            "FLOPs": counts["total"],
            "Parameters": counts["params"],
            "Input Size": list(measured["image_shape"]),
        }
        if "paper" in row:
            metadata["box AP in the paper"] = row["paper"]["AP"][0]
        models[name] = {
            "Name": Path(name).stem,
            "In Collection": collection,
            "Config": f"{CONFIG_FOLDER}/{name}",
            "Metadata": metadata,
        }
        training = measured["trained"].get(name)
        if training is not None:
            metrics = {"box AP": round(100 * training["metrics"]["coco/bbox_mAP"], 1)}
            models[name]["Results"] = [
                {
                    "Task": "Object Detection",
                    "Dataset": Path(name).stem.rpartition("_")[2],
                    "Metrics": metrics,
                }
            ]
    return {
        "Collections": [
            {
                "Name": collection,
                "Metadata": {
                    "Training Techniques": ["AdamW", "Multi Scale Train"],
                    "Architecture": [
                        "Interleaved multi-scale encoder",
                        "Key-aware deformable attention",
                    ],
                },
                "Paper": {"Title": PAPER_TITLE, "URL": PAPER},
                "README": f"{CONFIG_FOLDER}/README.md",
            }
        ],
        "Models": list(models.values()),
    }


def write_zoo(repository: str | Path) -> None:
    """Write ``README.md`` and ``metafile.yml`` of the configs from the measurements.

    Raises:
        ConfigError: a config has no row, or was not counted whole.
        KeyError: a config was not counted.
    """
    repository = Path(repository)
    zoo = read_zoo(repository)
    measurements = repository / "docs" / "measurements"
    trainings = [
        load_measurement(path)
        for path in sorted((measurements / "trained").glob("*.json"))
    ]
    measured = {
        **load_measurement(measurements / "complexity.json"),
        "latency": load_measurement(measurements / "model.json"),
        "trained": {training["config"]: training for training in trainings},
    }
    folder = repository / CONFIG_FOLDER
    (folder / "README.md").write_text(readme_of(zoo, measured))
    dump(metafile_of(zoo, measured), folder / "metafile.yml", sort_keys=False)
