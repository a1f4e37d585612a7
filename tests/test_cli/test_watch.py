"""A config is changed so that its training can be watched."""

import pytest
from mmengine.config import Config

from mmdet_lite.cli import draw_validation, log_to_tensorboard, read_config, watch
from mmdet_lite.errors import ConfigError


@pytest.fixture
def cfg(repository):
    name = "lite-dino_h3l1-2p1x3_r18_1xb4-3e_digits.py"
    return read_config(str(repository / "configs" / "lite_detr" / name))


def test_tensorboard_is_added_where_the_visualizer_looks(cfg, monkeypatch):
    monkeypatch.setattr(watch, "find_spec", lambda name: name)
    log_to_tensorboard(cfg)
    log_to_tensorboard(cfg)
    for backends in (cfg.vis_backends, cfg.visualizer.vis_backends):
        kinds = [backend["type"] for backend in backends]
        assert kinds == ["LocalVisBackend", "TensorboardVisBackend"]


def test_tensorboard_of_another_spelling_is_not_added_again(cfg, monkeypatch):
    monkeypatch.setattr(watch, "find_spec", lambda name: name)
    backends = [{"type": "mmengine.TensorboardVisBackend"}]
    cfg.vis_backends = cfg.visualizer.vis_backends = backends
    log_to_tensorboard(cfg)
    assert cfg.vis_backends == cfg.visualizer.vis_backends == backends


def test_missing_tensorboard_is_told_in_one_line(cfg, monkeypatch):
    monkeypatch.setattr(watch, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install tensorboard"):
        log_to_tensorboard(cfg)


def test_validation_is_drawn_at_an_interval(cfg):
    draw_validation(cfg, 7)
    hook = cfg.default_hooks.visualization
    assert (hook.type, hook.draw, hook.interval) == ("DetVisualizationHook", True, 7)
    assert hook.score_thr == 0.25


@pytest.mark.parametrize("hooks", [{}, {"default_hooks": {"visualization": None}}])
def test_a_config_that_names_nothing_to_draw_with_gets_it(hooks):
    cfg = Config(hooks)
    draw_validation(cfg, 7)
    hook = {"type": "mmdet.DetVisualizationHook", "draw": True, "interval": 7}
    assert cfg.default_hooks.visualization == hook
    assert cfg.visualizer.type == "mmdet.DetLocalVisualizer"
    # Where mmengine would write losses and metrics to.
    assert cfg.visualizer.vis_backends == [{"type": "LocalVisBackend"}]


def test_tensorboard_comes_to_a_config_without_a_visualizer(monkeypatch):
    monkeypatch.setattr(watch, "find_spec", lambda name: name)
    cfg = Config({"visualizer": None})
    log_to_tensorboard(cfg)
    assert cfg.visualizer.type == "mmdet.DetLocalVisualizer"
    kinds = [backend["type"] for backend in cfg.visualizer.vis_backends]
    assert kinds == ["LocalVisBackend", "TensorboardVisBackend"]


def test_an_interval_that_is_none_is_refused(cfg):
    with pytest.raises(ConfigError, match="--draw-validation must be at least 1"):
        draw_validation(cfg, 0)
