"""What is the Triton kernels' own: programs, and offsets beyond 32 bits.

They run on a GPU; test_triton_backend.py runs them in Triton's interpreter.
"""

import pytest
import torch
from operator_cases import KINDS, SHAPES, Case, assert_near

from mmdet_lite.ops import available_backends
from mmdet_lite.ops.backends import triton as triton_backend
from mmdet_lite.ops.example import TOLERANCES

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        "triton" not in available_backends(DEVICE),
        reason="backend 'triton' cannot run here: no GPU, or not installed",
    ),
]


@pytest.mark.parametrize("kind", KINDS)
def test_several_programs(kind, monkeypatch):
    monkeypatch.setattr(triton_backend, "FORWARD_BLOCK_NUMBERS", 256)
    monkeypatch.setattr(triton_backend, "BACKWARD_BLOCK_NUMBERS", 128)
    # 70 rows in blocks of 32 and of 16, which straddle heads and images.
    case = Case(
        kind,
        torch.float32,
        **{"batch": 2, "queries": 7, "heads": 5, "shapes": SHAPES[:1], "points": 2},
        device=DEVICE,
    )
    results = case.run("triton")
    expected = case.to(torch.float64).run("reference")
    assert_near(results, expected, *TOLERANCES[torch.float32])


def test_offsets_beyond_32_bits():
    # 9 images of 2^28 numbers each: 5 GB of addresses of which few are touched.
    batch, height, width, head_dims = 9, 4096, 2048, 32
    try:
        value = torch.empty(
            (batch, height * width, 1, head_dims), dtype=torch.float16, device=DEVICE
        )
    except RuntimeError as error:
        pytest.skip(f"too little memory: {error}")
    row, column = height - 2, width - 3
    corner = row * width + column
    for neighbour in (corner, corner + 1, corner + width, corner + width + 1):
        value[:, neighbour] = 0
    dims = torch.arange(head_dims, dtype=torch.float16, device=DEVICE)
    images = torch.arange(batch, dtype=torch.float16, device=DEVICE)
    value[:, corner, 0] = images[:, None] + dims
    center = torch.tensor([(column + 0.5) / width, (row + 0.5) / height], device=DEVICE)
    output = torch.ops.mmdet_lite.plain_attention_triton(
        value,
        torch.tensor([[height, width]], device=DEVICE),
        torch.tensor([0], device=DEVICE),
        center.expand(batch, 1, 1, 1, 1, 2),
        torch.ones(batch, 1, 1, 1, 1, device=DEVICE),
    )
    assert torch.equal(output, value[:, corner])
