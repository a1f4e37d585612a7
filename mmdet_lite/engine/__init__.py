"""What a run uses: hooks, a loop and samplers, registered with mmengine.

``docs/reliability.md`` says what they do. ``tools/train.py`` and ``tools/test.py`` put
them into every config.
"""

from .checkpoint_fit_hook import CheckpointFitHook
from .durable_checkpoint_hook import DurableCheckpointHook
from .invalid_loss_hook import InvalidLossHook
from .iteration_seed_hook import IterationSeedHook
from .latency_hook import LatencyHook
from .optimize_for_inference_hook import OptimizeForInferenceHook
from .pending_validation_hook import PendingValidationHook
from .resumable_loop import ResumableEpochLoop, ResumableIterLoop
from .seeded_samples import ResumableBatchSampler, SeededDataset
from .settings import (
    check_fit,
    fold_fixed_norms,
    make_resumable,
    stop_at_invalid_loss,
    without_averaging,
)
from .stop_signal_hook import STOPPED, StopSignalHook

__all__ = [
    "STOPPED",
    "CheckpointFitHook",
    "DurableCheckpointHook",
    "InvalidLossHook",
    "IterationSeedHook",
    "LatencyHook",
    "OptimizeForInferenceHook",
    "PendingValidationHook",
    "ResumableBatchSampler",
    "ResumableEpochLoop",
    "ResumableIterLoop",
    "SeededDataset",
    "StopSignalHook",
    "check_fit",
    "fold_fixed_norms",
    "make_resumable",
    "stop_at_invalid_loss",
    "without_averaging",
]
