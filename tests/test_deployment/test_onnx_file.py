"""An ONNX file has standard operators only and serves every size and batch."""

import pytest
from tiny import photograph, tiny_model

from mmdet_lite.deployment.description import Description
from mmdet_lite.deployment.module import DetectorModule
from mmdet_lite.deployment.onnx_file import export_onnx
from mmdet_lite.deployment.runtime import load_detector
from mmdet_lite.deployment.verify import verify
from mmdet_lite.errors import ConfigError


def description(shape, batch=None):
    return Description("m", ("a", "b"), (128, 96), True, shape, batch)


@pytest.fixture
def onnx():
    pytest.importorskip("onnxruntime")
    return pytest.importorskip("onnx")


@pytest.mark.parametrize("family", ["LiteDINO, NMS", "LiteDeformableDETR"])
def test_a_file_of_open_size_is_right_at_other_sizes(
    small_config, tmp_path, onnx, family
):
    module = DetectorModule(tiny_model(small_config, family))
    path = tmp_path / "detector.onnx"
    export_onnx(module, path, (96, 128), description(None))
    graph = onnx.load(str(path)).graph
    assert {node.domain for node in graph.node} == {""}
    detector = load_detector(path)
    assert detector.description["classes"] == ["a", "b"]
    images = [photograph(96, 128, seed).permute(1, 2, 0).numpy() for seed in (1, 2)]
    rows = list(verify(module.model, detector, images, (96, 128)))
    assert [row["batch"] for row in rows] == [1, 2, 1, 2]
    assert {tuple(row["image_shape"]) for row in rows} == {(78, 105), (142, 107)}
    assert all(row["objects"] > 10 for row in rows)
    assert all(row["passed"] for row in rows), rows


def test_a_file_of_so_many_images_is_right_at_other_sizes(small_config, tmp_path, onnx):
    module = DetectorModule(tiny_model(small_config, "LiteDINO"))
    path = tmp_path / "detector.onnx"
    export_onnx(module, path, (96, 128), description(None, batch=2))
    (image,) = onnx.load(str(path)).graph.input
    sizes = [
        size.dim_param or size.dim_value for size in image.type.tensor_type.shape.dim
    ]
    assert sizes == [2, 3, "height", "width"]
    detector = load_detector(path)
    images = [photograph(96, 128, seed).permute(1, 2, 0).numpy() for seed in (1, 2, 3)]
    # The third goes with a black one.
    rows = list(verify(module.model, detector, images, (96, 128)))
    assert [(row["batch"], row["images"]) for row in rows] == [(2, 3), (2, 3)]
    assert all(row["passed"] for row in rows), rows


def test_an_old_opset_is_refused(small_config, tmp_path, onnx):
    module = DetectorModule(tiny_model(small_config, "DINO"))
    with pytest.raises(ConfigError, match=r"--opset must be 16 or newer.*is 15"):
        export_onnx(module, tmp_path / "a.onnx", (96, 128), description(None), 15)
