"""The command draws, prints and writes, or says in one line what is wrong."""

import json
import runpy
import sys

import mmcv
import numpy as np
import pytest
import torch
from mmdet.models.detectors import DINO
from mmdet.registry import MODELS
from mmengine.config import Config

LITE = "lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py"
STOCK = "mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py"


@pytest.fixture(scope="module")
def models(small_config, tmp_path_factory):
    """Config and weights of a Lite-DINO, and of the DINO of the same head, as files."""
    folder = tmp_path_factory.mktemp("models")
    files = {}
    for name, source in (("lite", LITE), ("stock", STOCK)):
        cfg = small_config(source)
        cfg.model.decoder.num_layers = 1
        cfg.test_dataloader.dataset.pipeline[1].scale = (160, 96)
        config, weights = folder / f"{name}.py", folder / f"{name}.pth"
        cfg.dump(config)
        torch.manual_seed(0)
        model = MODELS.build(Config.fromfile(config).model)
        model.init_weights()
        torch.save({"meta": {}, "state_dict": model.state_dict()}, weights)
        files[name] = (str(config), str(weights))
    return files


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A picture of 60×90 pixels."""
    path = tmp_path_factory.mktemp("images") / "noise.png"
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    mmcv.imwrite(pixels, str(path))
    return str(path)


@pytest.fixture
def run(repository, models, monkeypatch, capsys):
    """Function that calls the command on the Lite-DINO, in this process."""
    tool = repository / "tools" / "analysis_tools" / "visualize_attention.py"

    def call(*arguments, model=models["lite"]):
        config, weights = model
        argv = [tool, "--config", config, "--weights", weights, "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", [str(word) for word in (*argv, *arguments)])
        status = 0
        try:
            runpy.run_path(str(tool), run_name="__main__")
        except SystemExit as error:
            status = error.code
        return status, capsys.readouterr()

    return call


def test_it_draws_both_models_and_writes_their_numbers(run, models, image, tmp_path):
    file = tmp_path / "new" / "numbers.json"
    status, printed = run(
        *(image, "--out", tmp_path / "pictures", "--json", file, "--dpi", 50),
        *("--query", "20,10", "80,50", "--layer", "0", "1", "--head", "2"),
        *("--compare", *models["stock"]),
    )
    assert status == 0, printed.err
    pictures = [tmp_path / "pictures" / f"noise_encoder-{n}.png" for n in (0, 1)]
    for picture in pictures:
        assert str(picture) in printed.out
        assert mmcv.imread(picture).shape[1] > 300
    rows = json.loads(file.read_text())["rows"]
    layers = {(row["model"], row["layer"]) for row in rows}
    assert layers == {
        ("LiteDINO", "encoder layer 0 (H)"),
        ("LiteDINO", "encoder layer 1 (F)"),
        ("DINO", "encoder layer 0"),
        ("DINO", "encoder layer 1"),
    }
    assert len(rows) == 4 * 4
    for model, layer in layers:
        of_layer = [r for r in rows if (r["model"], r["layer"]) == (model, layer)]
        assert [row["stride"] for row in of_layer] == [8, 16, 32, 64]
        assert sum(row["weight_share"] for row in of_layer) == pytest.approx(1)
        assert f"| {model} | {layer} |" in printed.out
    assert DINO.__name__ in printed.out


def test_it_draws_detections(run, image, tmp_path):
    status, printed = run(image, "--out", tmp_path, "--top", 2)
    assert status == 0, printed.err
    assert (tmp_path / "noise_decoder-0.png").is_file()
    assert "| LiteDINO | decoder layer 0 | 20 | stride 8 |" in printed.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--query", "90,10"], "90,10 is outside of the image"),
        (["--query", "1,1", "--layer", "6"], "no layer encoder.6"),
        (["--query", "1,1", "--layer", "decoder"], "decoder.0 has no tokens"),
        (["--top", "1", "--head", "8"], "has heads 0 to 7, but not 8"),
        (["--top", "1", "--device", "tpu"], "--device tpu cannot be used"),
    ],
)
def test_what_the_model_has_not_is_one_line(run, image, tmp_path, arguments, message):
    status, printed = run(image, "--out", tmp_path, *arguments)
    assert status == 2
    assert printed.err.splitlines()[-1].startswith("error: ")
    assert message in printed.err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_files_that_do_not_serve_are_one_line(run, models, image, tmp_path):
    text = tmp_path / "text.png"
    text.write_text("no image")
    (lite, lite_weights), (stock, stock_weights) = models["lite"], models["stock"]
    plain = "mmdet::detr/detr_r50_8xb2-150e_coco.py"
    top = ("--top", "1", "--out", tmp_path / "pictures")
    for arguments, model, message in (
        ([text], (lite, lite_weights), "text.png is no image that can be read"),
        ([tmp_path / "none.png"], (lite, lite_weights), "is no image"),
        ([image, image], (lite, lite_weights), "two images have the same name"),
        ([image], ("none.py", lite_weights), "there is no config none.py"),
        ([image], (lite, "none.pth"), "checkpoint does not exist: none.pth"),
        ([image], (lite, str(text)), "cannot be read as a checkpoint"),
        ([image], (lite, stock_weights), "holds weights of plain deformable"),
        ([image], (stock, lite_weights), "holds weights of key-aware deformable"),
        ([image], (plain, lite_weights), "does not fit the model: it has"),
    ):
        status, printed = run(*arguments, *top, model=model)
        assert status == 2
        assert message in printed.err.splitlines()[-1]


def test_a_query_is_two_numbers(run, image, tmp_path):
    status, printed = run(image, "--query", "12", "--out", tmp_path)
    assert status == 2
    assert "expected X,Y in pixels, such as 320,240, but got '12'" in printed.err
