"""Go on with a training from a checkpoint."""

from pathlib import Path

from mmengine.config import Config

from ..checkpoint.resumable import find_newest, named_last, read_position


def resume_training(cfg: Config, checkpoint: str) -> list[str]:
    """Have a config's training go on, with the seed that it had.

    Args:
        cfg: a whole config with its work dir; it is changed. The data order depends on
            the seed, and mmengine reads it from the checkpoint too late.
        checkpoint: path of the checkpoint, or ``'auto'`` for the newest whole one of
            the work dir; where there is none the training starts, from the weights
            that ``load_from`` names if it does. A URL, also that of the newest, is left
            to mmengine.

    Returns:
        list: a line for each checkpoint that is passed over, for the log.

    Raises:
        ConfigError: the checkpoint is not one of a training, or not whole.
    """
    cfg.resume = True
    passed_over: list[str] = []
    auto = checkpoint == "auto"
    last = named_last(cfg.work_dir) if auto else checkpoint
    if last is not None and "://" in last:
        cfg.load_from = last
        return passed_over
    schedules = bool(cfg.get("param_scheduler"))
    if auto:
        found = find_newest(
            cfg.work_dir, passed_over.append, _out_dir(cfg), schedules=schedules
        )
        if found is None:
            # mmengine would look for itself, and may find the name of one that is gone.
            cfg.resume = False
            return passed_over
        path, position = found
    else:
        path = Path(checkpoint)
        position = read_position(path, schedules)
    cfg.load_from = str(path)
    if position.get("seed") is not None:
        cfg.randomness = {**(cfg.get("randomness") or {}), "seed": position["seed"]}
    return passed_over


def _out_dir(cfg: Config) -> Path | None:
    """Where mmengine's hook saves to if not to the work dir: a folder of its name."""
    hook = (cfg.get("default_hooks") or {}).get("checkpoint") or {}
    out_dir = hook.get("out_dir")
    if out_dir is None or "://" in str(out_dir):
        return None
    return Path(out_dir) / Path(cfg.work_dir).resolve().name
