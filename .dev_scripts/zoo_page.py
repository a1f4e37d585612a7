"""Write the model zoo's page and its metafile."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmengine.fileio import dump
from shown_machine import measurement_of
from zoo import CONFIG_FOLDER, read_zoo, rows_of

from mmdet_lite.benchmark.measurement import conditions_of, load_measurement
from mmdet_lite.errors import ConfigError
from mmdet_lite.markdown import markdown_table
from mmdet_lite.run_logs import METRICS

PAPER = "https://arxiv.org/abs/2303.07335"
PAPER_TITLE = "Lite DETR: An Interleaved Multi-Scale Encoder for Efficient DETR"

_INTRODUCTION = Path(__file__).with_name("zoo_introduction.md")

_HEADER = (
    "model",
    "AP",
    "APs",
    "GFLOPs",
    "params, M",
    "latency, s",
    "config",
    "checkpoint or run",
)


def readme_of(zoo: dict[str, Any], measured: dict[str, Any]) -> str:
    """Write the zoo's page.

    Args:
        zoo: see :func:`zoo.read_zoo`.
        measured: ``complexity``, by config what
            :func:`zoo_measurements.measure_complexity` gives, and its ``image_shape``;
            ``latency``, what ``tools/benchmark.py model`` wrote; ``trained``, by config
            what :func:`zoo_measurements.read_training` gives.

    Raises:
        ConfigError: a config was not counted whole.
    """
    latency = measured["latency"]
    if any(_latency(row["config"], latency) is not None for row in rows_of(zoo)):
        shape = _size(latency["image_shape"])
        timed = (
            f"an image of {shape} in float32, {conditions_of(latency['environment'])}"
        )
    else:
        timed = "none was yet"
    lines = [
        _INTRODUCTION.read_text().format(
            title=PAPER_TITLE,
            url=PAPER,
            counted_shape=_size(measured["image_shape"]),
            latency=timed,
        )
    ]
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
    if counts["uncounted"]:
        raise ConfigError(f"{name} was not counted whole: {counts['uncounted']}")
    seconds = _latency(name, measured["latency"])
    return [
        row["model"],
        *_accuracy(row, measured["trained"].get(name)),
        f"{counts['total'] / 1e9:.1f}",
        f"{counts['params'] / 1e6:.1f}",
        "–" if seconds is None else f"{seconds:.2f}",
        name if "::" in name else f"[config](./{name})",
        f"[run](../../{row['run']})" if "run" in row else "–",
    ]


def _accuracy(row: dict[str, Any], training: dict[str, Any] | None) -> list[str]:
    """AP and APs: those reached here, or else the paper's in italics."""
    if training is not None:
        metrics = (training["metrics"][METRICS[name]] for name in ("AP", "APs"))
        # COCO's -1: there is no object of that size.
        return [f"{100 * value:.1f}" if value >= 0 else "–" for value in metrics]
    if "paper" in row:
        return [f"*{row['paper']['AP'][index]}*" for index in (0, 3)]
    return ["–", "–"]


def _latency(name: str, measurement: dict[str, Any]) -> float | None:
    """Seconds of a whole model in float32, if exactly this config was timed."""
    for row in measurement["rows"]:
        config = row["config"]
        is_it = config == name if "::" in name else Path(config).name == name
        if is_it and not row["options"] and row["dtype"] == "float32":
            return row["time"]["median"]
    return None


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
            metadata["GFLOPs in the paper"] = row["paper"]["GFLOPs"]
        models[name] = {
            "Name": Path(name).stem,
            "In Collection": collection,
            "Config": f"{CONFIG_FOLDER}/{name}",
            "Metadata": metadata,
        }
        training = measured["trained"].get(name)
        if training is not None:
            ap = training["metrics"][METRICS["AP"]]
            models[name]["Results"] = [
                {
                    "Task": "Object Detection",
                    "Dataset": Path(name).stem.rpartition("_")[2],
                    "Metrics": {"box AP": round(100 * ap, 1)},
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
    docs = repository / "docs"
    measurements = docs / "measurements"
    trainings = [
        load_measurement(path)
        for path in sorted((measurements / "trained").glob("*.json"))
    ]
    measured = {
        **load_measurement(measurements / "complexity.json"),
        "latency": load_measurement(docs / measurement_of("latency")),
        "trained": {training["config"]: training for training in trainings},
    }
    folder = repository / CONFIG_FOLDER
    (folder / "README.md").write_text(readme_of(zoo, measured))
    dump(metafile_of(zoo, measured), folder / "metafile.yml", sort_keys=False)
