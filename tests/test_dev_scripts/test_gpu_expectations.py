"""What is expected of a GPU is computed as one would by hand, and written as it is."""

import json
import shutil

import pytest
import torch
from gpu_expectations import expected_table, fill_page
from gpu_limits import CARDS, MULTIPROCESSORS, Traffic, occupancy, traffic_of

from mmdet_lite.benchmark.environment import describe_environment

LEVELS = {
    "spatial_shapes": torch.zeros(1, 2, dtype=torch.int64),  # 16 bytes
    "level_start_index": torch.zeros(1, dtype=torch.int64),  # 8 bytes
}


def half(*shape):
    return torch.zeros(*shape, dtype=torch.float16)


def plain_tensors():
    """Two queries that sample one point each, of a map of three tokens of 4 numbers."""
    return {
        "value": half(1, 3, 1, 4),  # 24 bytes
        **LEVELS,
        "locations": torch.zeros(1, 2, 1, 1, 1, 2),  # 16 bytes
        "weights": half(1, 2, 1, 1, 1),  # 4 bytes
    }


class TestOccupancy:
    @pytest.mark.parametrize(
        ("registers", "threads", "warps"),
        [
            (64, 32, 32),  # 8 warps of 2,048 registers in each of 4 partitions
            (72, 32, 28),  # 7 of 2,304
            (70, 32, 28),  # 2,240 are rounded up to 2,304
            (96, 32, 20),  # 5 of 3,072
            (16, 32, 32),  # 32 blocks are the most
            (16, 64, 64),
            (40, 256, 48),  # 12 warps of 1,280 in a partition: 6 blocks of 8 warps
            (33, 40, 48),  # 12 warps, of 1,280 again; 40 threads take two warps
        ],
    )
    def test_registers_and_blocks(self, registers, threads, warps):
        for multiprocessor in MULTIPROCESSORS.values():
            assert occupancy(multiprocessor, registers, threads, 0) == warps / 64

    def test_shared_memory(self):
        # With the 1 KiB of each block's own, 3 of 49 KiB go into 164, 4 into 228.
        full = {
            capability: occupancy(multiprocessor, 32, 128, 48 * 1024)
            for capability, multiprocessor in MULTIPROCESSORS.items()
        }
        assert full == {80: 3 * 4 / 64, 90: 4 * 4 / 64}


class TestTraffic:
    def test_plain_forward(self):
        launch = {**plain_tensors(), "output": half(1, 2, 4)}  # 16 bytes
        # 2 points, 4 corners, 4 numbers of 2 bytes: 64 bytes in place of 24.
        assert traffic_of([launch]) == Traffic(84, 84 - 24 + 64, 16)

    def test_plain_backward(self):
        launch = {
            "grad_output": half(1, 2, 4),
            **plain_tensors(),
            "grad_value": torch.zeros(1, 3, 1, 4),  # float32: 48 bytes
            "grad_locations": torch.zeros(1, 2, 1, 1, 1, 2),
            "grad_weights": half(1, 2, 1, 1, 1),
        }
        read_and_written = 16 + (24 + 24 + 16 + 4) + (48 + 16 + 4)
        around = 48 + (48 + 24)  # zeros; rounded to half precision
        requested = read_and_written - 24 + 64 - 48 + 128
        assert traffic_of([launch]) == Traffic(
            read_and_written + around, requested + around, (48 + 16 + 4) + 24
        )

    def test_key_aware_forward_that_keeps(self):
        tensors = plain_tensors()
        del tensors["weights"]
        launch = {
            "query": half(1, 2, 1, 4),
            "key": tensors["value"],  # the value itself is read once
            **tensors,
            "predicted_logits": tensors["value"],  # stands in, and is not read
            "output": half(1, 2, 4),
            "exact_output": torch.zeros(1, 2, 4),  # 32 bytes
            "log_sum": torch.zeros(1, 1, 2),  # 8 bytes
        }
        kept = 16 + 32 + 8
        least = 16 + (24 + 24 + 16) + kept
        assert traffic_of([launch]) == Traffic(least, least - 24 + 64, kept)

    def test_what_has_no_numbers_is_not_moved(self):
        launch = {**plain_tensors(), "output": half(1, 2, 4)}
        nothing = {"log_sum": torch.zeros(0)}
        assert traffic_of([{**launch, **nothing}]) == traffic_of([launch])

    def test_launches_are_added(self):
        launch = {**plain_tensors(), "output": half(1, 2, 4)}
        assert traffic_of([launch, launch]) == Traffic(2 * 84, 2 * 124, 2 * 16)

    def test_seconds(self):
        card = CARDS["A100 80GB"]
        least, most = Traffic(2039, 7219200, 0).seconds_on(card)
        assert least == pytest.approx(1e-9)
        assert most == pytest.approx(1e-6)


def test_the_table_says_what_the_file_says():
    kernel = {"registers": 72, "spilled": 8, "shared": 0, "threads": 32}
    expected = {
        "command": "python it",
        "image_shape": [800, 1066],
        "batch": 4,
        "environment": {"versions": {"triton": "3"}, "commit": None},
        "rows": [
            {
                "operator": "plain",
                "direction": "forward",
                "dtype": "float32",
                "compiled": {"sm_80": [{**kernel, "occupancy": 0.4375}]},
                "bytes": {"least": 2e6, "requested": 3e9, "allocated": 1e6},
                "seconds": {"A100": [1e-3, 2.5e-3]},
            }
        ],
    }
    call = {"operator": "plain", "direction": "forward", "dtype": "float32"}
    call |= {"batch": 4, "num_queries": 9, "num_tokens": 9, "backend": "triton"}
    others = ({"batch": 1}, {"num_queries": 3}, {"backend": "mmcv"})
    environment = describe_environment(torch.device("cpu")) | {"device": "A GPU"}
    measured = {
        "environment": environment,
        "command": "python that",
        "rows": [
            *({**call, **other, "time": {"median": 1.0}} for other in others),
            {**call, "time": {"median": 1.5e-3}},
        ],
    }
    table = expected_table(expected, measured)
    row = "| plain | forward | float32 | 72 (44 %) | 2 | 3,000 | 1 | 1.00–2.50 | 1.50 |"
    assert row in table
    assert "| A GPU, measured, ms |" in table
    assert "Computed, but for the last column: image 800×1066, batch 4" in table
    assert "8 bytes spilled, 0 of shared memory, 32 threads a block" in table


def test_the_page_shows_the_file(repository, tmp_path):
    docs = shutil.copytree(repository / "docs", tmp_path / "docs")
    page, file = docs / "operators.md", docs / "measurements" / "gpu-expected.json"
    written = page.read_text()
    fill_page(page)
    assert page.read_text() == written
    expected = json.loads(file.read_text())
    expected["rows"][0]["bytes"]["least"] = 123e12
    file.write_text(json.dumps(expected))
    fill_page(page)
    assert "| 123,000,000 |" in page.read_text()
