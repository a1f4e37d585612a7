"""The picture of the architecture shows what the default encoder does."""

from math import ceil
from xml.etree import ElementTree

import pytest
from mmdet.registry import MODELS
from repository_root import REPOSITORY

from mmdet_lite.cli import read_config

PICTURE = REPOSITORY / "docs" / "images" / "architecture.svg"
CONFIG = "configs/lite_detr/lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py"
SVG = "{http://www.w3.org/2000/svg}"
IMAGE_SHAPE = (800, 1066)
STRIDES = (8, 16, 32, 64)


@pytest.fixture(scope="module")
def picture():
    """The root of the picture."""
    return ElementTree.parse(PICTURE).getroot()


@pytest.fixture(scope="module")
def encoder():
    """The encoder that the default config builds."""
    cfg = read_config(str(REPOSITORY / CONFIG))
    return MODELS.build({"type": "LiteDetrTransformerEncoder", **cfg.model.encoder})


@pytest.fixture(scope="module")
def map_shapes():
    """(height, width) of the maps of the image, by stride."""
    return {
        stride: tuple(ceil(side / stride) for side in IMAGE_SHAPE) for stride in STRIDES
    }


def element(picture, name):
    (found,) = picture.iterfind(f".//*[@id='{name}']")
    return found


def texts(node):
    return ["".join(text.itertext()) for text in node.iter(f"{SVG}text")]


def test_it_names_the_image(picture):
    height, width = IMAGE_SHAPE
    assert f"of an {height}×{width} image, to scale" in texts(picture)


def test_it_counts_the_tokens_of_the_image(picture, encoder, map_shapes):
    tokens = {stride: height * width for stride, (height, width) in map_shapes.items()}
    split = -encoder.num_high_levels
    low, high = STRIDES[:split], STRIDES[split:]
    assert low == (8,)
    shown = {f"tokens-{stride}": tokens[stride] for stride in STRIDES}
    shown["tokens-high"] = sum(tokens[stride] for stride in high)
    for name, number in shown.items():
        assert element(picture, name).text == f"{number:,}"
    assert tokens[8] / sum(tokens.values()) == pytest.approx(3 / 4, abs=0.005)
    assert "¾ of all tokens" in texts(picture)


@pytest.mark.parametrize("stride", STRIDES)
def test_a_map_is_drawn_to_scale(picture, map_shapes, stride):
    drawn = element(picture, f"stride-{stride}")
    assert (int(drawn.get("height")), int(drawn.get("width"))) == map_shapes[stride]


def test_it_shows_the_layers_in_their_order(picture, encoder):
    drawn = sorted(element(picture, "layers"), key=lambda layer: float(layer.get("x")))
    kinds = "".join(layer.get("href").removeprefix("#") for layer in drawn)
    assert kinds == encoder.layer_kinds
    assert f"high: {len(kinds)} updates" in texts(picture)
    assert f"low: {kinds.count('F')} updates" in texts(picture)


def test_it_shows_the_widths_of_the_ffns(picture, encoder):
    by_kind = dict(zip(encoder.layer_kinds, encoder.layers, strict=True))
    ffns = {
        "H": [by_kind["H"].ffn],
        "F": [by_kind["F"].ffn, by_kind["F"].low_ffn],
    }
    for kind, expected in ffns.items():
        shown = [text for text in texts(element(picture, kind)) if text.isdigit()]
        assert shown == [str(ffn.feedforward_channels) for ffn in expected]
    high, low = (ffn.feedforward_channels for ffn in ffns["F"])
    assert f"FFN hidden channels: high {high}, low {low}" in texts(picture)


def test_it_needs_no_other_file(picture):
    names = {node.get("id") for node in picture.iter()}
    links = [
        value
        for node in picture.iter()
        for name, value in node.attrib.items()
        if name.endswith("href")
    ]
    links += [
        value.removeprefix("url(").removesuffix(")")
        for node in picture.iter()
        for value in node.attrib.values()
        if value.startswith("url(")
    ]
    assert links
    assert all(link[0] == "#" and link[1:] in names for link in links)
    style = "".join(node.text for node in picture.iter(f"{SVG}style"))
    assert "url(" not in style
    assert "@import" not in style
