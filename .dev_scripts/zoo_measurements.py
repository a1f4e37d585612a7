"""What is counted of a model of the zoo, and read from its training."""

from pathlib import Path
from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from zoo import CONFIG_FOLDER

from mmdet_lite.checkpoint.fit import BATCH_COUNTER
from mmdet_lite.checkpoint.official.conversion import convert_official, to_official
from mmdet_lite.cli import read_config
from mmdet_lite.errors import ConfigError
from mmdet_lite.flops.counter import count_flops
from mmdet_lite.model_config import without_pretrained_weights
from mmdet_lite.run_logs import evaluations_of, read_test_log, read_training_log


def measure_complexity(
    repository: str | Path, name: str, image_shape: tuple[int, int]
) -> dict[str, Any]:
    """Build and count a model of the zoo.

    Args:
        repository: root of the repository.
        name: of its config, as :func:`configs_of` gives it.
        image_shape: (height, width) of the image.

    Returns:
        dict: what :func:`~mmdet_lite.flops.counter.count_flops` gives, and
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
        if not name.endswith(BATCH_COUNTER)
    )


def read_training(work_dir: str | Path) -> dict[str, Any]:
    """Read how a training ended from the files that mmengine wrote.

    Args:
        work_dir: of the training, or of a test of its last checkpoint.

    Returns:
        dict: ``config``, the name of its file; ``epoch``, which a test does not tell;
        ``metrics`` of the last evaluation, by mmdet's names.

    Raises:
        ConfigError: there are no such files, or no evaluation in them.
    """
    work_dir = Path(work_dir)
    lines = read_training_log(work_dir) or read_test_log(work_dir)
    configs = list(work_dir.glob("*.py"))
    if not lines or len(configs) != 1:
        raise ConfigError(f"{work_dir} is not the work dir of one training")
    last = evaluations_of(lines, work_dir)[-1]
    return {
        "config": configs[0].name,
        "epoch": last.get("step"),
        "metrics": {
            name: value for name, value in last.items() if name.startswith("coco/")
        },
    }
