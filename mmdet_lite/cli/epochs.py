"""Change how long a config trains."""

from mmengine.config import Config

from ..errors import ConfigError


def set_epochs(cfg: Config, epochs: int) -> None:
    """Train for so many epochs, the learning rate's curve in proportion.

    What is at an epoch, or lasts some, goes along: the schedulers, when a hook changes
    the pipeline, how often to validate from when on. Epochs are whole: a warm-up keeps
    one, and a scheduler for which none is left is dropped.

    Args:
        cfg: a whole config with an epoch-based training; it is changed.
        epochs: how many.

    Raises:
        ConfigError: the number is not positive, or the training counts iterations.
    """
    if epochs < 1:
        raise ConfigError(f"--epochs must be at least 1, but got {epochs}")
    before = (cfg.get("train_cfg") or {}).get("max_epochs")
    if before is None:
        raise ConfigError("--epochs needs a config that trains by epochs")

    def scaled(epoch: float) -> int:
        # What is not at the start stays behind it.
        return max(1, round(epoch * epochs / before)) if epoch else 0

    cfg.train_cfg.max_epochs = epochs
    intervals = cfg.train_cfg.get("dynamic_intervals")
    if intervals:
        cfg.train_cfg.dynamic_intervals = [
            (scaled(epoch), interval) for epoch, interval in intervals
        ]
    for hook in cfg.get("custom_hooks") or []:
        if "switch_epoch" in hook:
            hook.switch_epoch = scaled(hook.switch_epoch)
        if "num_last_epochs" in hook:
            hook.num_last_epochs = round(hook.num_last_epochs * epochs / before)
    schedulers = cfg.get("param_scheduler") or []
    kept = []
    for scheduler in [schedulers] if isinstance(schedulers, dict) else schedulers:
        # Otherwise the warm-up counts iterations.
        if scheduler.get("by_epoch", True):
            span = scheduler.get("end", before) - scheduler.get("begin", 0)
            for name in ("begin", "end"):
                if name in scheduler:
                    scheduler[name] = scaled(scheduler[name])
            if "milestones" in scheduler:
                scheduler["milestones"] = list(map(scaled, scheduler["milestones"]))
            left = scheduler.get("end", epochs) - scheduler.get("begin", 0)
            if left < 1:
                continue
            if "T_max" in scheduler:  # A part of the span, so that it ends as it did.
                scheduler["T_max"] = max(1, round(scheduler["T_max"] * left / span))
        kept.append(scheduler)
    cfg.param_scheduler = kept
