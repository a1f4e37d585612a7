"""Change how long a config trains."""

from collections.abc import Callable
from itertools import accumulate, pairwise

from mmengine.config import Config

from ..errors import ConfigError


def set_epochs(cfg: Config, epochs: int) -> None:
    """Train for so many epochs, the learning rate's curve in proportion.

    What is at an epoch, or lasts some, goes along: the schedulers, when a hook changes
    the pipeline or begins to average, from when on to validate and to save. How often
    to do that goes along downwards only. Epochs are whole: a warm-up keeps one, and a
    scheduler for which none is left is dropped.

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

    def shortened(interval: int) -> int:
        return min(interval, scaled(interval)) if interval > 0 else interval

    train_cfg = cfg.train_cfg
    train_cfg.max_epochs = epochs
    _change(train_cfg, scaled, "val_begin")
    _change(train_cfg, shortened, "val_interval")
    intervals = train_cfg.get("dynamic_intervals")
    if intervals:
        train_cfg.dynamic_intervals = [
            (scaled(epoch), shortened(interval)) for epoch, interval in intervals
        ]
    checkpoint = (cfg.get("default_hooks") or {}).get("checkpoint") or {}
    if checkpoint.get("by_epoch", True):
        _change(checkpoint, scaled, "save_begin")
        _change(checkpoint, shortened, "interval")
    for hook in cfg.get("custom_hooks") or []:
        _change(hook, scaled, "switch_epoch", "begin_epoch")
        if "num_last_epochs" in hook:
            hook.num_last_epochs = round(hook.num_last_epochs * epochs / before)
    schedulers = cfg.get("param_scheduler") or []
    kept = []
    for scheduler in [schedulers] if isinstance(schedulers, dict) else schedulers:
        # Otherwise the warm-up counts iterations.
        if scheduler.get("by_epoch", True):
            span = scheduler.get("end", before) - scheduler.get("begin", 0)
            _change(scheduler, scaled, "begin", "end", "step_size")
            if "milestones" in scheduler:
                scheduler["milestones"] = list(map(scaled, scheduler["milestones"]))
            left = scheduler.get("end", epochs) - scheduler.get("begin", 0)
            if left < 1:
                continue
            for name in ("T_max", "total_steps"):
                if scheduler.get(name):  # A part of the span, to end as it did.
                    scheduler[name] = max(1, round(scheduler[name] * left / span))
            if "periods" in scheduler:
                _change_periods(scheduler, left / span)
        kept.append(scheduler)
    cfg.param_scheduler = kept


def _change_periods(scheduler: dict, factor: float) -> None:
    """Move the restarts; periods that no epoch is left for are dropped."""
    # Rounded one by one, periods would not end where the training does.
    ends = [max(1, round(end * factor)) for end in accumulate(scheduler["periods"])]
    periods = [end - start for start, end in pairwise([0, *ends])]
    dropped = [index for index, period in enumerate(periods) if not period]
    scheduler["periods"] = list(filter(None, periods))
    if "restart_weights" in scheduler:
        scheduler["restart_weights"] = [
            weight
            for index, weight in enumerate(scheduler["restart_weights"])
            if index not in dropped
        ]


def _change(part: dict, how: Callable[[int], int], *names: str) -> None:
    """Change those settings of a part that it has."""
    for name in names:
        if name in part:
            part[name] = how(part[name])
