"""Look at a checkpoint before its weights reach the model."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..checkpoint.attention_kind import refuse_other_attention
from ..checkpoint.fit import (
    CheckpointMismatchError,
    fit_of,
    require_part_fit,
    require_whole_fit,
    unwrapped,
    weights_of,
)


@HOOKS.register_module()
class CheckpointFitHook(Hook):
    """Refuses a checkpoint that does not fit, where mmengine only warns.

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
            CheckpointMismatchError: it does not fit; the message names the file.
            AttentionMismatchError: it is of the other kind of attention.
        """
        try:
            weights = weights_of(checkpoint)
            # Said first, because it knows what to do.
            refuse_other_attention(unwrapped(runner.model), weights, "")
            fit = fit_of(runner.model, weights)
            if self.whole:
                require_whole_fit(fit)
            else:
                runner.logger.info(f"load_from: {fit.summary()} are taken")
                require_part_fit(fit, runner.model)
        except CheckpointMismatchError as error:
            raise CheckpointMismatchError(
                f"{runner.cfg.get('load_from')} does not fit the model: {error}"
            ) from None
