"""What precision of computation does to a trained model's metrics."""

from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from ..checkpoint.files import require_checkpoint
from ..config_file import require_test_set
from ..engine import check_fit
from ..runtime import predict_in_float32


def measure_accuracy(cfg: Config, checkpoint: str | Path) -> list[dict[str, Any]]:
    """Test a checkpoint on its test set in float32 and under autocast.

    Args:
        cfg: a whole config with a test set.
        checkpoint: path or URL of the weights.

    Returns:
        list: a row for each precision: ``subject``, ``dtype`` and ``metrics``, by
        mmdet's names.

    Raises:
        ConfigError: there is no such file, what it holds does not fit, or the config
            has no test set.
    """
    require_checkpoint(checkpoint)
    require_test_set(cfg)
    rows = []
    # One folder for both: mmengine keeps writing to that of the first.
    with TemporaryDirectory() as work_dir:
        for amp in (False, True):
            run_cfg = deepcopy(cfg)
            run_cfg.work_dir = work_dir
            run_cfg.load_from = str(checkpoint)
            check_fit(run_cfg, whole=True)
            run_cfg.test_cfg.fp16 = amp  # mmengine's name for autocast of any kind.
            runner = Runner.from_cfg(run_cfg)
            if amp:
                predict_in_float32(runner.model)
            metrics = runner.test()
            rows.append(
                {
                    "subject": Path(cfg.filename).stem,
                    "dtype": "autocast" if amp else "float32",
                    "metrics": {name: float(value) for name, value in metrics.items()},
                }
            )
    return rows
