"""Look at a checkpoint before its weights reach the model, and at what is saved."""

from mmengine.hooks import CheckpointHook, Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..checkpoint.attention_kind import refuse_other_attention
from ..checkpoint.fit import (
    CheckpointMismatchError,
    fit_of,
    require_part_fit,
    require_whole_fit,
    weights_of,
)
from ..checkpoint.optimizer_fit import require_optimizer_fit
from ..model_wrappers import unwrapped


@HOOKS.register_module()
class CheckpointFitHook(Hook):
    """Refuses a checkpoint that does not fit, where mmengine only warns.

    Before a training it also says if no checkpoint of that can be gone on from.

    Args:
        whole (bool): whether the checkpoint must have every weight, for testing and
            for going on with a run. Otherwise it is to start from: the log says how
            much is taken, and something of encoder and decoder must be.
    """

    # Before averaged weights are put in the place of the others.
    priority = "VERY_HIGH"

    def __init__(self, whole: bool) -> None:
        self.whole = whole

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare.

        Raises:
            CheckpointMismatchError: it does not fit, or a training goes on and its
                optimizer does not; the message names the file.
            AttentionMismatchError: it is of the other kind of attention.
        """
        try:
            weights = weights_of(checkpoint)
            # Said first, because it knows what to do.
            refuse_other_attention(unwrapped(runner.model), weights, "")
            fit = fit_of(runner.model, weights)
            if self.whole:
                require_whole_fit(fit)
                # A test's is a dict of settings.
                if isinstance(runner.optim_wrapper, OptimWrapper):
                    require_optimizer_fit(runner.optim_wrapper, checkpoint)
            else:
                runner.logger.info(f"load_from: {fit.summary()} are taken")
                require_part_fit(fit, runner.model)
        except CheckpointMismatchError as error:
            raise CheckpointMismatchError(
                f"{runner.cfg.get('load_from')} does not fit the model: {error}"
            ) from None

    def before_train(self, runner: Runner) -> None:
        """Warn if the checkpoints of this training will lack what resuming needs."""
        needed = ["save_optimizer"]
        if runner.param_schedulers:
            needed.append("save_param_scheduler")
        lacking = [
            (hook, [name for name in needed if not getattr(hook, name)])
            for hook in runner.hooks
            if isinstance(hook, CheckpointHook)
        ]
        if lacking and all(names for _, names in lacking):
            reasons = (
                f"{type(hook).__name__} has "
                f"{' and '.join(f'{name}=False' for name in names)}"
                for hook, names in lacking
            )
            runner.logger.warning(
                f"{'; '.join(reasons)}: if this training is interrupted, --resume "
                "cannot go on with it"
            )
