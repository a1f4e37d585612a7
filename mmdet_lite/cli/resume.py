"""Go on with a training from a checkpoint."""

from pathlib import Path

from mmengine.config import Config

from ..checkpoint.resumable import find_newest, read_position


def resume_training(cfg: Config, checkpoint: str) -> list[str]:
    """Have a config's training go on, with the seed that it had.

    Args:
        cfg: a whole config with its work dir; it is changed. The data order depends on
            the seed, and mmengine reads it from the checkpoint too late.
        checkpoint: path of the checkpoint, or ``'auto'`` for the newest whole one of
            the work dir; where there is none the training starts, from the weights
            that ``load_from`` names if it does.

    Returns:
        list: a line for each newer checkpoint that is passed over, for the log.

    Raises:
        ConfigError: the checkpoint is not one of a training, or not whole.
    """
    cfg.resume = True
    passed_over: list[str] = []
    if "://" in checkpoint:
        cfg.load_from = checkpoint
        return passed_over
    if checkpoint == "auto":
        found = find_newest(cfg.work_dir, say=passed_over.append)
        if found is None:
            # mmengine would look for itself, and may find the name of one that is gone.
            cfg.resume = False
            return passed_over
        path, position = found
    else:
        path, position = Path(checkpoint), read_position(checkpoint)
    cfg.load_from = str(path)
    if position.get("seed") is not None:
        cfg.randomness = {**(cfg.get("randomness") or {}), "seed": position["seed"]}
    return passed_over
