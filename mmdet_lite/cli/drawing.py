"""What a config needs so that predictions are drawn."""

from mmengine.config import Config


def provide_drawing(cfg: Config) -> None:
    """Give a config the hook and the visualizer that draw, where it has none.

    Args:
        cfg: a whole config; it is changed.
    """
    hooks = cfg.get("default_hooks") or {}
    if not hooks.get("visualization"):
        hook = {"type": "mmdet.DetVisualizationHook"}
        cfg.default_hooks = {**hooks, "visualization": hook}
    provide_visualizer(cfg)


def provide_visualizer(cfg: Config) -> None:
    """Give a config the visualizer of mmdet, where it has none.

    Args:
        cfg: a whole config; it is changed.
    """
    if not cfg.get("visualizer"):
        # mmengine's own, which there is where none is named, draws no boxes. Losses
        # and metrics are written through it as well.
        cfg.visualizer = {
            "type": "mmdet.DetLocalVisualizer",
            "vis_backends": [{"type": "LocalVisBackend"}],
        }
