"""Give a config of any model what keeps its runs whole."""

from typing import Any

from mmengine.config import Config

from ..errors import ConfigError
from ..type_names import type_name

# Loops of mmengine, and what goes in their place.
_LOOPS = {
    "EpochBasedTrainLoop": "ResumableEpochLoop",
    "IterBasedTrainLoop": "ResumableIterLoop",
}


def make_resumable(cfg: Config) -> None:
    """Have a training save durably, stop on a signal, and resume as if it never had.

    Puts classes of this package where mmengine's stand, and leaves those of others. A
    config that was changed once is not changed further.

    Args:
        cfg: a whole config; it is changed.

    Raises:
        ConfigError: it asks for mmengine's ``FlexibleRunner`` or a strategy of that.
    """
    for name in ("runner_type", "strategy"):
        if cfg.get(name) not in (None, "Runner"):
            raise ConfigError(
                f"{name} of the config asks for mmengine's FlexibleRunner, whose "
                "trainings are not resumed here and clip gradients wrongly under FSDP: "
                "leave it out (docs/training.md says what saves memory instead)"
            )
    hooks = dict(cfg.get("default_hooks") or {})
    # As mmengine adds it where nothing is said of it; None is said.
    checkpoint = hooks.setdefault(
        "checkpoint", {"type": "CheckpointHook", "interval": 1}
    )
    if type_name(checkpoint) == "CheckpointHook":
        checkpoint["type"] = "DurableCheckpointHook"
    cfg.default_hooks = hooks
    by_epoch = cfg.train_cfg.pop("by_epoch", None)
    if by_epoch is not None:
        kind = "EpochBasedTrainLoop" if by_epoch else "IterBasedTrainLoop"
        cfg.train_cfg.setdefault("type", kind)
    loop = type_name(cfg.train_cfg)
    if loop in _LOOPS:
        cfg.train_cfg.type = _LOOPS[loop]
    loader = cfg.train_dataloader
    if type_name(loader.dataset) != "SeededDataset":
        # Whose registry has them is said, as default_scope may be another.
        loader.dataset = {"type": "mmdet.SeededDataset", "dataset": loader.dataset}
        loader.batch_sampler = {
            "type": "mmdet.ResumableBatchSampler",
            "batch_sampler": loader.get("batch_sampler"),
            "drop_last": loader.pop("drop_last", False),
        }
    for hook in ("IterationSeedHook", "StopSignalHook", "PendingValidationHook"):
        _add_hook(cfg, hook)


def stop_at_invalid_loss(cfg: Config, action: str | None = None) -> None:
    """Look at every loss of a training.

    Where batches are skipped, mmdet's ``CheckInvalidLossHook`` goes: it looks at the
    same later, and a batch that was skipped has no loss.

    Args:
        cfg: a whole config; it is changed.
        action: of :class:`~mmdet_lite.engine.invalid_loss_hook.InvalidLossHook`; None
            for what the config says, by default to stop.

    Raises:
        ConfigError: batches are to be skipped, but the training counts iterations.
    """
    hook = _add_hook(cfg, "InvalidLossHook")
    if action is not None:
        hook["action"] = action
    loop = type_name(cfg.train_cfg)
    if hook.get("action") != "skip":
        return
    if loop != "ResumableEpochLoop":
        raise ConfigError(
            "batches with an invalid loss can be skipped in an epoch's loop, "
            f"EpochBasedTrainLoop, but train_cfg.type is {loop}"
        )
    _remove_hook(cfg, "CheckInvalidLossHook")


def check_fit(cfg: Config, whole: bool) -> None:
    """Have the checkpoint of a config refused where it does not fit.

    Args:
        cfg: a whole config; it is changed.
        whole: of :class:`~mmdet_lite.engine.checkpoint_fit_hook.CheckpointFitHook`.
    """
    _add_hook(cfg, "CheckpointFitHook")["whole"] = whole


def fold_fixed_norms(cfg: Config) -> None:
    """Have a training multiply ResNet's fixed norms into its convolutions.

    A batch norm whose statistics are fixed is a factor and a summand for each channel.
    mmengine's ``efficient_conv_bn_eval`` applies the factor to the weights at every
    step, so that no norm runs and the maps before them need not be kept. Losses and
    gradients are the same to rounding.

    Left alone are backbones that mmengine cannot follow or whose norms learn, and
    configs that say something of ``efficient_conv_bn_eval`` themselves: None keeps
    the norms.

    Args:
        cfg: a whole config of a detector; it is changed.
    """
    backbone = cfg.model.get("backbone", {})
    # Convolutions and norms of other kinds are no layers that mmengine multiplies.
    norm = backbone.get("norm_cfg") or {"type": "BN"}
    can_be_followed = (
        type_name(backbone) == "ResNet"
        and not any(
            backbone.get(name) for name in ("with_cp", "dcn", "plugins", "conv_cfg")
        )
        and type_name(norm) == "BN"
        and norm.get("track_running_stats", True)
    )
    if (
        "efficient_conv_bn_eval" not in cfg
        and can_be_followed
        and backbone.get("norm_eval", True)
        and cfg.get("activation_checkpointing") is None
    ):
        cfg.efficient_conv_bn_eval = ["backbone"]


def without_averaging(cfg: Config) -> None:
    """Test the weights of a checkpoint without mmengine's ``EMAHook``.

    They are the averaged ones already, and the hook exchanges parameters with a copy,
    which a model that was made fast has not.

    Args:
        cfg: a whole config; it is changed.
    """
    _remove_hook(cfg, "EMAHook")


def _add_hook(cfg: Config, kind: str) -> dict[str, Any]:
    """The custom hook of a type, which is added where the config has none."""
    hooks = list(cfg.get("custom_hooks") or [])
    for hook in hooks:
        if not isinstance(hook, dict):
            raise ConfigError(
                "custom_hooks is a list of dicts, each with the type of a hook, but "
                f"one of them is {hook!r}"
            )
    if not any(type_name(hook) == kind for hook in hooks):
        hooks.append({"type": kind})
        cfg.custom_hooks = hooks
    return next(hook for hook in cfg.custom_hooks if type_name(hook) == kind)


def _remove_hook(cfg: Config, kind: str) -> None:
    """Take custom hooks of a type out of a config."""
    cfg.custom_hooks = [
        hook for hook in cfg.get("custom_hooks") or [] if type_name(hook) != kind
    ]
