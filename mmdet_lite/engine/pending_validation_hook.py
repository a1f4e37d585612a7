"""Make up for a validation that an interruption took."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

# Key of the message hub, which is saved in every checkpoint.
_VALIDATED = "validated_epoch"


@HOOKS.register_module()
class PendingValidationHook(Hook):
    """Validates first where a run was interrupted between an epoch and its validation.

    The checkpoint of an epoch is saved before the epoch is validated. Without this the
    best checkpoint of a resumed run could be another, or none.
    """

    # What validation needs is prepared by other hooks.
    priority = "LOWEST"

    def before_val_epoch(self, runner: Runner) -> None:
        """Note which epoch is validated, for the checkpoint that follows."""
        runner.message_hub.update_info(_VALIDATED, runner.epoch)

    def before_train(self, runner: Runner) -> None:
        """Validate what a resumed run has not."""
        hub, loop = runner.message_hub, runner.train_loop
        # Checkpoints of other tools do not tell.
        validated = hub.get_info(_VALIDATED, None if runner.epoch else 0)
        if validated is None or runner.val_loop is None:
            return
        hub.update_info(_VALIDATED, validated)
        due = runner.epoch >= loop.val_begin and (
            runner.epoch % loop.val_interval == 0 or runner.epoch == loop.max_epochs
        )
        if runner.epoch > 0 and due and validated != runner.epoch:
            runner.logger.info(
                f"epoch {runner.epoch} was not validated before the interruption"
            )
            runner.val_loop.run()
