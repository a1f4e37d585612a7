"""Let a training be watched: TensorBoard, and pictures of what it finds."""

from importlib.util import find_spec

from mmengine.config import Config

from ..errors import ConfigError
from ..type_names import type_name
from .drawing import provide_drawing, provide_visualizer

_TENSORBOARD = {"type": "TensorboardVisBackend"}


def log_to_tensorboard(cfg: Config) -> None:
    """Write losses, metrics and pictures for TensorBoard, beside the JSON logs.

    Args:
        cfg: a whole config; it is changed.

    Raises:
        ConfigError: the package is not installed.
    """
    if find_spec("tensorboard") is None:
        raise ConfigError(
            "--tensorboard needs a package that is not installed: "
            "pip install tensorboard"
        )
    provide_visualizer(cfg)
    # The visualizer has a list of its own by now; the other is what configs built on
    # this one would read.
    for owner in (cfg, cfg.visualizer):
        backends = owner.get("vis_backends") or []
        if not any(type_name(backend) == _TENSORBOARD["type"] for backend in backends):
            owner["vis_backends"] = [*backends, dict(_TENSORBOARD)]


def draw_validation(cfg: Config, interval: int) -> None:
    """Draw predictions beside the ground truth while validating.

    The pictures go where the visualizer writes, by default ``vis_data/vis_image`` of
    the run, their steps counted in iterations.

    Args:
        cfg: a whole config; it is changed.
        interval: one picture for so many batches.

    Raises:
        ConfigError: the interval is not positive.
    """
    if interval < 1:
        raise ConfigError(f"--draw-validation must be at least 1, but got {interval}")
    provide_drawing(cfg)
    cfg.default_hooks.visualization.update(draw=True, interval=interval)
