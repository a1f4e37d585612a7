"""The model zoo: what was published, what was counted, measured and trained here."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.fileio import dump, load

from ..checkpoint.official import convert_official, to_official
from ..engine.config import read_config
from ..errors import ConfigError
from .flops import count_flops, without_pretrained_weights
from .report import load_measurement, markdown_table

CONFIG_FOLDER = "configs/lite_detr"
PAPER = "https://arxiv.org/abs/2303.07335"
PAPER_TITLE = "Lite DETR: An Interleaved Multi-Scale Encoder for Efficient DETR"

_INTRODUCTION = """\
# Model zoo

<!-- Written by tools/analysis_tools/model_zoo.py; edit model_zoo.yml. -->

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

# How the plot tells the variants apart.
_MARKERS = {
    "baseline": "*",
    "H3L1-(2+1)x3": "o",
    "H3L1-(3+1)x2": "D",
    "H3L1-(6+1)x1": "^",
    "H2L2-(2+1)x3": "s",
}

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


def rows_of(zoo: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every row of every table."""
    for table in zoo["tables"]:
        yield from table["rows"]


def configs_of(zoo: dict[str, Any]) -> list[str]:
    """Every config that a row names, once: a file name, or ``mmdet::PATH``."""
    return list(dict.fromkeys(row["config"] for row in rows_of(zoo)))


def read_zoo(repository: str | Path) -> dict[str, Any]:
    """Read the rows of the zoo.

    Raises:
        ConfigError: a config of the repository has no row, or a row has no config.
    """
    folder = Path(repository) / CONFIG_FOLDER
    zoo = load(folder / "model_zoo.yml")
    named = {name for name in configs_of(zoo) if "::" not in name}
    there = {path.name for path in folder.glob("*.py")}
    if named != there:
        raise ConfigError(
            f"{folder / 'model_zoo.yml'} and the configs beside it differ: "
            f"{', '.join(sorted(named ^ there))}"
        )
    return zoo


def measure_complexity(
    repository: str | Path, name: str, image_shape: tuple[int, int]
) -> dict[str, Any]:
    """Build and count a model of the zoo.

    Args:
        repository: root of the repository.
        name: of its config, as :func:`configs_of` gives it.
        image_shape: (height, width) of the image.

    Returns:
        dict: what :func:`~mmdet_lite.analysis.flops.count_flops` gives, and
        ``converts``: whether weights come back bit-identical from a conversion to the
        official layout.
    """
    if "::" not in name:
        name = str(Path(repository) / CONFIG_FOLDER / name)
    cfg = read_config(name)
    return {**count_flops(cfg, image_shape), "converts": _converts(cfg)}


def _converts(cfg: Config) -> bool:
    """Whether the model's weights survive a round trip to the official layout."""
    # The official code knows no H layers without fusion.
    if cfg.model.type != "LiteDINO" or not cfg.model.encoder.get(
        "iterative_fusion", True
    ):
        return False
    model = MODELS.build(without_pretrained_weights(cfg.model))
    # Some parameters are not initialised before init_weights: they may hold NaN.
    weights = {
        name: torch.rand(tensor.shape) for name, tensor in model.state_dict().items()
    }
    # The official code has one head for all layers of the decoder.
    for name in list(weights):
        for branch in ("cls_branches", "reg_branches"):
            parts = name.split(".")
            if parts[1:2] == [branch] and int(parts[2]) < cfg.model.decoder.num_layers:
                weights[name] = weights[".".join([*parts[:2], "0", *parts[3:]])]
    try:
        back = convert_official(to_official(weights).state_dict).state_dict
    except ConfigError:
        return False
    return all(
        torch.equal(back[name], tensor)
        for name, tensor in weights.items()
        if not name.endswith("num_batches_tracked")
    )


def read_training(work_dir: str | Path) -> dict[str, Any]:
    """Read how a training ended from the files that mmengine wrote.

    Args:
        work_dir: of the training.

    Returns:
        dict: ``config``, the name of its file; ``epoch``; ``metrics`` of the last
        evaluation, by mmdet's names.

    Raises:
        ConfigError: there are no such files, or no evaluation in them.
    """
    work_dir = Path(work_dir)
    scalars = sorted(work_dir.glob("*/vis_data/scalars.json"))
    configs = list(work_dir.glob("*.py"))
    if not scalars or len(configs) != 1:
        raise ConfigError(f"{work_dir} is not the work dir of one training")
    # A resumed training leaves several.
    lines = [json.loads(line) for file in scalars for line in file.open()]
    evaluations = [line for line in lines if "coco/bbox_mAP" in line]
    if not evaluations:
        raise ConfigError(f"{work_dir} has no evaluation in its logs")
    metrics = {
        name: value
        for name, value in evaluations[-1].items()
        if name.startswith("coco/")
    }
    return {
        "config": configs[0].name,
        "epoch": evaluations[-1]["step"],
        "metrics": metrics,
    }


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


def plot_published(zoo: dict[str, Any], path: str | Path) -> None:
    """Draw the published AP of ResNet-50 models against their GFLOPs.

    Args:
        zoo: see :func:`read_zoo`.
        path: image to write; the ending says which kind.
    """
    # Only this function draws, and the import takes a second.
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    others = zoo["others"]
    axes.scatter(
        [other["GFLOPs"] for other in others],
        [other["AP"] for other in others],
        color="0.7",
        marker="x",
    )
    for other in others:
        axes.annotate(
            other["model"],
            (other["GFLOPs"], other["AP"]),
            xytext=(4, 4 if other.get("label") == "above" else -8),
            textcoords="offset points",
            color="0.5",
            fontsize=6,
        )
    families: dict[str, dict[str, tuple[float, float]]] = {}
    for table in zoo["tables"]:
        for row in table["rows"]:
            if "paper" in row and "_swin-t_" not in row["config"]:
                family = families.setdefault(table["title"].split(",")[0], {})
                variant = row["model"].rpartition(" ")[2]
                variant = variant if variant in _MARKERS else "baseline"
                family[variant] = (row["paper"]["GFLOPs"], row["paper"]["AP"][0])
    for index, (family, points) in enumerate(families.items()):
        color = f"C{index}"
        axes.plot(*zip(*sorted(points.values()), strict=True), color=color)
        for variant, point in points.items():
            axes.plot(*point, color=color, marker=_MARKERS[variant], markersize=8)
        # For the legend only.
        axes.plot([], [], color=color, label=f"{family} and its Lite variants")
    for variant, marker in _MARKERS.items():
        axes.plot([], [], color="0.3", marker=marker, linestyle="", label=variant)
    axes.set_xlabel("GFLOPs as published")
    axes.set_ylabel("AP on COCO val2017 as published")
    axes.grid(alpha=0.3)
    axes.legend(loc="center right", bbox_to_anchor=(1, 0.66), fontsize=7, ncols=2)
    figure.savefig(path, dpi=150)
    plt.close(figure)
