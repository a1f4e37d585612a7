"""What kinds of error a trained detector makes, by TIDE."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner
from pycocotools.coco import COCO

from ..config_file import require_test_set
from ..engine import check_fit
from ..errors import ConfigError
from ..type_names import type_name

KINDS = {
    "Cls": "classification",
    "Loc": "localisation",
    "Both": "both",
    "Dupe": "duplicate",
    "Bkg": "background",
    "Miss": "missed",
    "FalsePos": "false positives",
    "FalseNeg": "false negatives",
}
"""TIDE's kinds of error, and what reports call them."""


def measure_errors(cfg: Config, checkpoint: str | Path) -> dict[str, Any]:
    """Test a checkpoint and break its errors down.

    mmdet's modules must be registered.

    Args:
        cfg: a whole config, whose test set is in COCO's format; it is changed.
        checkpoint: its weights.

    Returns:
        dict: as :func:`break_down`.

    Raises:
        ConfigError: there is no test set, its evaluator is not one ``CocoMetric``, the
            checkpoint does not fit, or as :func:`break_down`.
    """
    _tide()  # Missed now rather than after the test.
    require_test_set(cfg)
    evaluator = cfg.test_evaluator
    if type_name(evaluator) != "CocoMetric":
        raise ConfigError("test_evaluator must be one CocoMetric to break errors down")
    with TemporaryDirectory() as folder:
        cfg.work_dir = folder
        cfg.load_from = str(checkpoint)
        evaluator["outfile_prefix"] = str(Path(folder) / "predictions")
        check_fit(cfg, whole=True)
        Runner.from_cfg(cfg).test()
        prefix = evaluator["outfile_prefix"]
        return break_down(evaluator["ann_file"], f"{prefix}.bbox.json")


def break_down(annotations: str | Path, predictions: str | Path) -> dict[str, Any]:
    """Break the errors of predictions down into TIDE's kinds.

    Bolya et al., *TIDE: A General Toolbox for Identifying Object Detection Errors*,
    ECCV 2020 (arXiv 2008.08115), whose own code counts. A box is right from an IoU of
    0.5 and background up to one of 0.1. A kind costs what AP50 would gain if it alone
    were mended; the gains do not add up to all that is missing.

    Args:
        annotations: ground truth, COCO's format.
        predictions: results, COCO's format, as ``CocoMetric`` with an
            ``outfile_prefix`` writes them.

    Returns:
        dict: ``AP50`` as TIDE has it and ``cost`` of each of :data:`KINDS`, in points
        of it; ``count`` of the errors of each of TIDE's six main kinds among *all*
        predictions, however low their scores; ``objects``, how many there are.

    Raises:
        ConfigError: tidecv is not installed.
    """
    tidecv = _tide()
    truth, objects = tidecv.Data("truth", max_dets=100), 0
    coco = COCO(str(annotations))
    for image in coco.loadImgs(coco.getImgIds()):
        truth.add_image(image["id"], image["file_name"])
    for category in coco.loadCats(coco.getCatIds()):
        truth.add_class(category["id"], category["name"])
    # TIDE's own reader asks for a mask of every object.
    for box in coco.loadAnns(coco.getAnnIds()):
        where = (box["image_id"], box["category_id"], box["bbox"])
        if box.get("iscrowd"):
            truth.add_ignore_region(*where)
        else:
            truth.add_ground_truth(*where)
            objects += 1
    tide = tidecv.TIDE()
    run = tide.evaluate(truth, tidecv.datasets.COCOResult(str(predictions)))
    costs = {
        **next(iter(tide.get_main_errors().values())),
        **next(iter(tide.get_special_errors().values())),
    }
    return {
        "AP50": round(run.ap, 2),
        "cost": {kind: round(float(costs[kind]), 2) for kind in KINDS},
        "count": {kind.short_name: n for kind, n in run.count_errors().items()},
        "objects": objects,
    }


def _tide() -> Any:
    try:
        import tidecv
    except ImportError as error:
        raise ConfigError(
            "breaking errors down needs tidecv: pip install tidecv"
        ) from error
    return tidecv
