"""The converters as users call them, and what mmdet makes of their files."""

import argparse
import runpy
import sys

import pytest
import torch
from mmdet.apis import init_detector
from mmdet.registry import MODELS

from mmdet_lite.checkpoint.official.conversion import to_official
from mmdet_lite.cli import read_config

CONFIG = "lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py"


@pytest.fixture
def run_tool(repository, monkeypatch, capsys):
    """Function that runs a converter and returns its status and what it printed."""

    def run(tool, *arguments):
        path = repository / "tools" / "model_converters" / f"{tool}.py"
        monkeypatch.setattr(sys, "argv", [path.name, *map(str, arguments)])
        capsys.readouterr()
        status = 0
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as end:
            status = end.code
        return status, capsys.readouterr()

    return run


@pytest.fixture
def official_weights(small_config):
    # Before init_weights the heads of all layers are copies of one.
    model = MODELS.build(small_config(CONFIG).model)
    torch.nn.init.normal_(model.level_embed)
    return to_official(model.state_dict()).state_dict


def test_an_official_checkpoint_becomes_a_detector_and_comes_back(
    run_tool, official_weights, small_config, tmp_path
):
    source, there, back = (tmp_path / f"{name}.pth" for name in ("a", "b", "c"))
    torch.save({"model": official_weights, "args": argparse.Namespace(lr=1)}, source)

    status, printed = run_tool("convert_official", source, there)
    assert status == 0
    assert "Lite-DINO H?L?-(2+1)x3, ResNet-18" in printed.out
    assert "HxLy is not told" in printed.out
    assert "no config in" in printed.out
    assert "16 left out: the decoder's copy of a head" in printed.out
    # mmdet reads weights and class names.
    model = init_detector(small_config(CONFIG), str(there), device="cpu")
    assert model.dataset_meta["classes"][79] == "toothbrush"
    converted = torch.load(there, weights_only=True)["state_dict"]
    own = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    assert own.keys() == converted.keys()
    assert all(torch.equal(own[name], converted[name]) for name in own)

    status, printed = run_tool("convert_official", "--reverse", there, back)
    assert status == 0
    assert "invented" not in printed.out
    restored = torch.load(back, weights_only=True)["model"]
    assert restored.keys() == official_weights.keys()
    for name, tensor in official_weights.items():
        assert torch.equal(restored[name], tensor), name


def test_a_full_size_checkpoint_finds_its_configs(run_tool, repository, tmp_path):
    """The tool looks through all configs of the repository, Swin's among them."""
    cfg = read_config(str(repository / "configs" / "lite_detr" / CONFIG))
    cfg.model.backbone.init_cfg = None
    weights = to_official(MODELS.build(cfg.model).state_dict()).state_dict
    torch.save({"model": weights}, tmp_path / "a.pth")
    status, printed = run_tool(
        "convert_official",
        "--num-high-levels=3",
        tmp_path / "a.pth",
        tmp_path / "b.pth",
    )
    assert status == 0
    found = [
        line.split("/")[-1]
        for line in printed.out.splitlines()
        if line.startswith("config: ")
    ]
    assert found == [
        "lite-dino_h3l1-2p1x3_r50_8xb2-12e_coco.py",
        "lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py",
    ]


def test_all_classes_and_high_levels_are_options(run_tool, official_weights, tmp_path):
    torch.save({"model": official_weights}, tmp_path / "a.pth")
    status, printed = run_tool(
        "convert_official",
        "--keep-91-classes",
        "--num-high-levels=2",
        "--verbose",
        tmp_path / "a.pth",
        tmp_path / "b.pth",
    )
    assert status == 0
    assert "Lite-DINO H2L2-(2+1)x3" in printed.out
    assert "91 classes" in printed.out
    assert "  transformer.level_embed -> level_embed\n" in printed.out
    assert "  transformer.decoder.class_embed.0.bias\n" in printed.out


def test_a_name_that_is_unknown_ends_the_tool_in_one_line(
    run_tool, official_weights, tmp_path
):
    official_weights["transformer.new.weight"] = torch.zeros(1)
    torch.save({"model": official_weights}, tmp_path / "a.pth")
    status, printed = run_tool(
        "convert_official", tmp_path / "a.pth", tmp_path / "b.pth"
    )
    assert status == 2
    last_line = printed.err.strip().splitlines()[-1]
    assert last_line.startswith("error: ")
    assert "transformer.new.weight" in last_line
    assert not (tmp_path / "b.pth").exists()


def test_a_stock_checkpoint_becomes_a_start(run_tool, small_config, tmp_path):
    stock = MODELS.build(
        small_config("mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py").model
    )
    source, target = tmp_path / "stock.pth", tmp_path / "start.pth"
    torch.save({"state_dict": stock.state_dict(), "meta": {}}, source)
    config = tmp_path / "lite.py"
    small_config(CONFIG).dump(config)
    status, printed = run_tool("convert_stock", source, config, target)
    assert status == 0
    assert "encoder.layers.1.low_norm.bias: not in the checkpoint" in printed.out
    assert "  decoder.layers.0.cross_attn.attention_weights.bias" in printed.out
    model = MODELS.build(small_config(CONFIG).model)
    model.load_state_dict(torch.load(target, weights_only=True)["state_dict"])


@pytest.mark.parametrize(
    ("tool", "arguments"), [("convert_official", ()), ("convert_stock", (CONFIG,))]
)
def test_a_target_that_cannot_be_written_is_said_first(
    run_tool, tmp_path, tool, arguments
):
    (tmp_path / "file").write_text("in the way")
    target = tmp_path / "file" / "b.pth"
    status, printed = run_tool(tool, "none.pth", *arguments, target)
    assert status == 2
    (line,) = printed.err.splitlines()
    assert line.startswith(f"error: target {target.parent} cannot be written to")
