"""What is followed of a model's layers tells the known from the unknown."""

import json
import os

import pytest
from python_process import run_python

from mmdet_lite.cli import read_config
from mmdet_lite.experiments.follow import COLUMNS, follow

CONFIG = "configs/lite_detr/lite-dino_h3l1-2p1x3_r18_1xb4-3e_digits.py"


@pytest.fixture
def config(repository, digits_root, monkeypatch):
    monkeypatch.setenv("DIGITS_ROOT", str(digits_root))

    def read(**options):
        cfg = read_config(str(repository / CONFIG), options)
        cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
        cfg.model.decoder.num_layers = 1
        return cfg

    return read


def test_layers_of_the_interleaved_encoder_are_told_apart(config):
    rows = follow(config(), batches=1)
    assert [row["layer"] for row in rows] == [
        *(f"encoder.layers.{index}" for index in range(6)),
        "decoder.layers.0",
    ]
    for index, row in enumerate(rows):
        assert set(row) == {"layer", *COLUMNS}
        assert 0 < row["entropy"] < 1
        assert row["update_high"] > 0
        # F layers update low tokens, H layers do not; in the decoder there are none.
        assert (row["update_low"] is not None) == (index in (1, 3, 5))
        assert (row["gradient_low"] is not None) == (index < 6)
    # The initial offsets: a direction each head, point i i pixels away.
    distances = [row["wander"] for row in rows[:6]]
    assert distances == pytest.approx([2.5 * (1 + 2**0.5) / 2] * 6, rel=1e-4)


def test_plain_and_uniform_attention_start_without_a_preference(config):
    plain = {"type": "MultiScaleDeformableAttention"}
    for attention in (plain, {"uniform_start": True}):
        cfg = config()
        cfg.model.encoder.layer_cfg.self_attn_cfg.update(attention)
        cfg.model.decoder.layer_cfg.cross_attn_cfg.update(attention)
        for row in follow(cfg, batches=1):
            assert row["entropy"] == pytest.approx(1, abs=1e-4)
            assert row["weight_outside"] == pytest.approx(row["outside"], abs=1e-4)


def test_the_command_keeps_what_it_prints_and_where_it_ran(
    repository, digits_root, tmp_path
):
    file = tmp_path / "follow.json"
    result = run_python(
        *("tools/experiments/follow.py", CONFIG, "--batches", 1, "--json", file),
        *("--cfg-options", "train_dataloader.num_workers=0"),
        *("train_dataloader.persistent_workers=False", "model.decoder.num_layers=1"),
        cwd=repository,
        env={**os.environ, "DIGITS_ROOT": str(digits_root)},
    )
    assert result.returncode == 0, result.stderr[-3000:]
    kept = json.loads(file.read_text())
    assert kept["command"].startswith(f"python tools/experiments/follow.py {CONFIG} ")
    assert kept["environment"]["device"] == "cpu"
    layers = [row["layer"] for row in kept["layers"]]
    assert len(layers) == 7
    assert [line.split()[0] for line in result.stdout.splitlines()[-7:]] == layers
