"""Change how long a config trains."""

from mmengine.config import Config

from ..errors import ConfigError


def set_epochs(cfg: Config, epochs: int) -> None:
    """Train for so many epochs, the learning rate's curve in proportion.

    Args:
        cfg: a whole config with an epoch-based training; it is changed.
        epochs: how many.

    Raises:
        ConfigError: the number is not positive, or the training counts iterations.
    """
    if epochs < 1:
        raise ConfigError(f"--epochs must be at least 1, but got {epochs}")
    before = cfg.train_cfg.get("max_epochs")
    if before is None:
        raise ConfigError("--epochs needs a config that trains by epochs")
    cfg.train_cfg.max_epochs = epochs
    schedulers = cfg.get("param_scheduler") or []
    for scheduler in [schedulers] if isinstance(schedulers, dict) else schedulers:
        if not scheduler.get("by_epoch", True):
            continue  # The warm-up counts iterations.
        for name in ("begin", "end", "T_max"):
            if name in scheduler:
                scheduler[name] = round(scheduler[name] * epochs / before)
        if "milestones" in scheduler:
            scheduler["milestones"] = [
                max(1, round(milestone * epochs / before))
                for milestone in scheduler["milestones"]
            ]
