"""Draw how a training went, from what it left in its folder."""

import json
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ..datasets.class_names import classes_of_config
from ..errors import ConfigError
from ..run_logs import METRICS, last_by_step, read_training_log

NO_RESULTS = (
    "no precision-recall curves: {work_dir} holds no *.bbox.json, which a test leaves "
    "with --cfg-options test_evaluator.outfile_prefix={work_dir}/results"
)
"""Said where the curves' source is missing."""


def plot_run(work_dir: str | Path, path: str | Path) -> list[str]:
    """Draw loss by iteration, AP by epoch, and precision by recall.

    Args:
        work_dir: folder of a training, with mmengine's logs. The last curves come from
            the newest ``*.bbox.json`` in it, which mmdet's ``CocoMetric`` writes with
            ``outfile_prefix``, held against the annotation file of the run's config.
        path: picture to write.

    Returns:
        list[str]: what could not be drawn and why, a line each.

    Raises:
        ConfigError: the folder holds no log of a training, the file of detections
            does not fit the annotations, or the picture's name has no known ending.
    """
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    known = figure.canvas.get_supported_filetypes()
    if Path(path).suffix.removeprefix(".") not in known:
        raise ConfigError(f"{path} should end in one of .{', .'.join(known)}")
    work_dir = Path(work_dir)
    lines = read_training_log(work_dir)
    losses = last_by_step(lines, "loss")
    if not losses:
        raise ConfigError(
            f"{work_dir} holds no log of a training: no losses in "
            "*/vis_data/scalars.json"
        )
    evaluations = last_by_step(lines, *METRICS.values())
    missing: list[str] = []
    panels: list[tuple[Callable[..., None], Any]] = [(_draw_losses, losses)]
    if evaluations:
        panels.append((_draw_metrics, evaluations))
    else:
        missing.append(f"no AP by epoch: the logs of {work_dir} hold no evaluation")
    results = sorted(
        work_dir.rglob("*.bbox.json"), key=lambda file: file.stat().st_mtime
    )
    if results:
        panels.append((_draw_precision, precision_by_recall(work_dir, results[-1])))
    else:
        missing.append(NO_RESULTS.format(work_dir=work_dir))
    figure.set_size_inches(5.5 * len(panels), 4.2)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for (draw, content), ax in zip(panels, axes, strict=True):
        draw(ax, content)
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    return missing


def precision_by_recall(
    work_dir: str | Path, results: str | Path
) -> dict[str, np.ndarray]:
    """Precision of detections at 101 recalls from 0 to 1, by pycocotools.

    Args:
        work_dir: folder of the run, whose config names the annotation file.
        results: COCO's list of detections.

    Returns:
        dict: by class at an IoU of 0.5, and ``'mean, IoU 0.5'`` and
        ``'mean, IoU 0.75'`` over the classes; (101,) each. Classes without an object
        and, as by mmdet's metric, those that the run's test set does not have are left
        out.

    Raises:
        ConfigError: there is no config or annotation file, the detections are of other
            images, or all classes are others.
    """
    detections = json.loads(Path(results).read_text())
    cfg = _config_of(Path(work_dir))
    ann_file = _annotation_file(cfg)
    with redirect_stdout(StringIO()):
        coco = COCO(ann_file)
        if {row["image_id"] for row in detections} - set(coco.imgs) or not detections:
            raise ConfigError(f"{results} holds no detections in images of {ann_file}")
        evaluation = COCOeval(coco, coco.loadRes(detections), "bbox")
        classes = classes_of_config(cfg)
        if classes:
            categories = coco.getCatIds(catNms=list(classes))
            if not categories:
                raise ConfigError(f"{ann_file} has no class of the run's test set")
            evaluation.params.catIds = categories
        evaluation.evaluate()
        evaluation.accumulate()
    # (IoUs, recalls, classes, sizes, numbers of detections); all sizes, most detections
    precision = evaluation.eval["precision"][..., 0, -1]
    known = precision[0].min(0) >= 0
    names = [coco.cats[index]["name"] for index in evaluation.params.catIds]
    curves = {
        name: precision[0, :, index] for index, name in enumerate(names) if known[index]
    }
    for threshold in (0.5, 0.75):
        at = int(np.argmin(abs(evaluation.params.iouThrs - threshold)))
        curves[f"mean, IoU {threshold:g}"] = precision[at][:, known].mean(1)
    return curves


def _config_of(work_dir: Path) -> Config:
    configs = sorted(work_dir.glob("*/vis_data/config.py"))
    if not configs:
        raise ConfigError(f"{work_dir} holds no config: */vis_data/config.py")
    return Config.fromfile(configs[-1])


def _annotation_file(cfg: Config) -> str:
    evaluator = cfg.get("test_evaluator") or {}
    for row in evaluator if isinstance(evaluator, list) else [evaluator]:
        if ann_file := row.get("ann_file"):
            if not Path(ann_file).is_file():
                raise ConfigError(
                    f"there is no annotation file {ann_file}, which test_evaluator "
                    "of the run names; its path counts from where the run started"
                )
            return ann_file
    raise ConfigError(f"test_evaluator of {cfg.filename} names no annotation file")


def _draw_losses(ax: Any, losses: list[dict[str, Any]]) -> None:
    # mmengine has averaged over a few iterations already.
    steps, values = zip(*((line["step"], line["loss"]) for line in losses), strict=True)
    ax.plot(steps, values, label="loss")
    ax.set(xlabel="iteration", ylabel="training loss", ylim=(0, None))


def _draw_metrics(ax: Any, evaluations: list[dict[str, Any]]) -> None:
    for name, key in METRICS.items():
        # COCO says -1 where no object has the size; a config may ask for some only.
        points = [
            (line["step"], 100 * line[key])
            for line in evaluations
            if line.get(key, -1) >= 0
        ]
        if points:
            ax.plot(*zip(*points, strict=True), marker=".", label=name)
    ax.set(xlabel="epoch", ylabel="AP", ylim=(0, 100))
    ax.xaxis.get_major_locator().set_params(integer=True)


def _draw_precision(ax: Any, curves: dict[str, np.ndarray]) -> None:
    recalls = np.linspace(0, 1, 101)
    for name, precision in curves.items():
        is_mean = name.startswith("mean, ")
        ax.plot(
            recalls,
            precision,
            label=f"{name}: {100 * precision.mean():.1f}",
            linewidth=2.5 if is_mean else 1.2,
            color={"mean, IoU 0.5": "black", "mean, IoU 0.75": "grey"}.get(name),
        )
    ax.set(xlabel="recall", ylabel="precision (classes: IoU 0.5)", ylim=(0, 1.02))
