"""The exported module is the detector: it predicts what mmdet predicts."""

import pytest
import torch
from mmdet.registry import MODELS
from tiny import FAMILIES, photograph, tiny_config, tiny_model

from mmdet_lite.deployment.module import DetectorModule, build_module
from mmdet_lite.deployment.verify import predict
from mmdet_lite.errors import ConfigError


@pytest.mark.parametrize("family", FAMILIES)
def test_detections_are_those_of_predict(small_config, family):
    model = tiny_model(small_config, family)
    module = DetectorModule(model)
    image = photograph(97, 131)
    with torch.no_grad():
        boxes, scores, labels = (result[0] for result in module(image[None]))
    kept = scores > 0
    expected = predict(model, image.numpy())
    assert len(expected[1]) > 5
    for actual, wanted in zip((boxes, scores, labels), expected, strict=True):
        torch.testing.assert_close(
            actual[kept], torch.from_numpy(wanted), rtol=0, atol=1e-4
        )


def test_the_nms_of_the_config_is_inside(small_config):
    model = tiny_model(small_config, "LiteDINO, NMS")
    module = DetectorModule(model)
    image = photograph(97, 131)
    with torch.no_grad():
        _, scores, _ = module(image[None])
    expected = predict(model, image.numpy())[1]
    assert 0 < len(expected) < module.num_detections
    assert (scores > 0).sum() == len(expected)


def test_the_whole_detector_compiles_without_a_graph_break(small_config):
    module = DetectorModule(tiny_model(small_config, "LiteDINO"))
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    image = photograph(97, 131)[None]
    with torch.no_grad():
        for actual, expected in zip(compiled(image), module(image), strict=True):
            torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_cfg.nms.type": "soft_nms"}, "test_cfg.nms must be.*soft_nms"),
        ({"data_preprocessor.pad_size_divisor": 32}, "knows no padding.* is 32"),
    ],
)
def test_what_the_file_would_do_otherwise_is_refused(small_config, changes, message):
    cfg = tiny_config(small_config, "LiteDINO, NMS")
    cfg.merge_from_dict({f"model.{name}": value for name, value in changes.items()})
    with pytest.raises(ConfigError, match=message):
        DetectorModule(MODELS.build(cfg.model))


def test_another_detector_is_refused(small_config):
    cfg = small_config("mmdet::ddq/ddq-detr-4scale_r50_8xb2-12e_coco.py")
    with pytest.raises(ConfigError, match="DDQDETR cannot be exported: DINO, Deform"):
        DetectorModule(MODELS.build(cfg.model))


def test_weights_of_another_model_are_refused(small_config, tmp_path):
    weights = tiny_model(small_config, "LiteDINO, plain").state_dict()
    torch.save({"state_dict": weights, "meta": {}}, tmp_path / "plain.pth")
    cfg = tiny_config(small_config, "LiteDINO")
    with pytest.raises(ConfigError, match="holds weights of plain deformable att"):
        build_module(cfg, tmp_path / "plain.pth", None)
    with pytest.raises(ConfigError, match="the checkpoint does not exist"):
        build_module(cfg, tmp_path / "nothing.pth", None)


def test_weights_that_are_missing_or_not_finite_are_refused(small_config, tmp_path):
    cfg = tiny_config(small_config, "LiteDINO")
    weights = tiny_model(small_config, "LiteDINO").state_dict()
    level_embed = weights.pop("level_embed")
    file = tmp_path / "weights.pth"
    torch.save({"state_dict": weights, "meta": {}}, file)
    with pytest.raises(ConfigError, match=r"weights\.pth does.*missing: level_embed"):
        build_module(cfg, file, None)
    weights["level_embed"] = level_embed * torch.nan
    torch.save({"state_dict": weights, "meta": {}}, file)
    with pytest.raises(ConfigError, match=r"weights\.pth does.*not finite: level_emb"):
        build_module(cfg, file, None)


def test_a_pipeline_that_cannot_be_said_is_refused_before_anything_is_built(
    small_config, tmp_path
):
    cfg = tiny_config(small_config, "LiteDINO")
    torch.save({"state_dict": {}, "meta": {}}, tmp_path / "weights.pth")
    cfg.test_dataloader.dataset.pipeline.insert(1, {"type": "Pad", "size": (64, 64)})
    cfg.model = {"type": "Unknown"}
    with pytest.raises(ConfigError, match="the test pipeline has Pad"):
        build_module(cfg, tmp_path / "weights.pth", None)
