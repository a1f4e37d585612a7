"""The command prints a table and writes what the package counts."""

import json
import subprocess
import sys

from mmengine.config import Config

from mmdet_lite.flops.counter import PARTS, count_flops


def test_the_tool_prints_and_writes(repository, tmp_path):
    file = tmp_path / "new" / "flops.json"
    config = "configs/lite_detr/lite-dino_h3l1-2p1x3_r18_1xb4-3e_digits.py"
    result = subprocess.run(
        [
            *(sys.executable, "-W", "ignore", "tools/analysis_tools/get_flops.py"),
            *(config, "--shape", "96", "128", "--json", str(file)),
            *("--cfg-options", "model.num_queries=30"),
        ],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    counts = json.loads(file.read_text())
    assert counts["config"] == config
    assert counts["image_shape"] == [96, 128]
    cfg = Config.fromfile(repository / config)
    cfg.model.num_queries = 30
    assert {"config": config, **count_flops(cfg, (96, 128))} == counts
    for part in (*PARTS, "rest", "total", "params"):
        assert part in result.stdout
    assert f"{counts['total'] / 1e9:.2f} G" in result.stdout
    assert "warning" not in result.stderr
