"""Make up for a validation that an interruption took."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

# Key of the message hub, which is saved in every checkpoint. It counts what the loop
# does: iterations have the name of epochs, as checkpoints have it.
_VALIDATED = "validated_epoch"


@HOOKS.register_module()
class PendingValidationHook(Hook):
    """Validates first where a run was interrupted before a validation was through.

    The checkpoint of an epoch, or of an iteration where the loop counts these, is saved
    before it is validated. Without this the best checkpoint of a resumed run could be
    another, or none. Loops that are not mmengine's are left alone.
    """

    # What validation needs is prepared by other hooks.
    priority = "LOWEST"

    def __init__(self) -> None:
        self._counts_iterations = False

    def before_val_epoch(self, runner: Runner) -> None:
        """Note what is validated, for the checkpoint that follows."""
        runner.message_hub.update_info(_VALIDATED, self._position(runner))

    def before_train(self, runner: Runner) -> None:
        """Validate what a resumed run has not."""
        hub, loop = runner.message_hub, runner.train_loop
        self._counts_iterations = isinstance(loop, IterBasedTrainLoop)
        position = self._position(runner)
        # Checkpoints of other tools do not tell.
        validated = hub.get_info(_VALIDATED, None if position else 0)
        if validated is None or runner.val_loop is None:
            return
        hub.update_info(_VALIDATED, validated)
        if position == 0 or validated == position:
            return
        if not isinstance(loop, EpochBasedTrainLoop | IterBasedTrainLoop):
            return
        # As the loop does after each, and has not since it was built.
        loop._decide_current_val_interval()
        last = loop.max_iters if self._counts_iterations else loop.max_epochs
        if position >= loop.val_begin and (
            position % loop.val_interval == 0 or position == last
        ):
            unit = "iteration" if self._counts_iterations else "epoch"
            runner.logger.info(
                f"{unit} {position} was not validated before the interruption"
            )
            runner.val_loop.run()

    def _position(self, runner: Runner) -> int:
        """Epochs, or iterations, that the run has behind it."""
        return runner.iter if self._counts_iterations else runner.epoch
