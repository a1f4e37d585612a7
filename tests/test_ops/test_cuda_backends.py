"""The backends for CUDA against the reference, on a GPU.

Where there is none, test_triton_backend.py has the same cases run by Triton's
interpreter, which takes CPU tensors: TRITON_INTERPRET=1 in the environment.
"""

import pytest
import torch
from operator_cases import KINDS, SHAPES, Case, assert_identical, assert_near

from mmdet_lite.ops import available_backends, triton_backend

HAS_CUDA = torch.cuda.is_available()
DEVICE = "cuda" if HAS_CUDA else "cpu"
BACKENDS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            name not in available_backends(DEVICE, torch.float32),
            reason=f"backend {name!r} cannot run here: no GPU, or not installed",
        ),
    )
    for name in ("triton", "mmcv")
]
TOLERANCES = {
    torch.float32: (2e-5, 5e-5),
    torch.float16: (2e-3, 1e-2),
    torch.bfloat16: (1.6e-2, 5e-2),
}


@pytest.fixture(autouse=True)
def _blocks_for_the_interpreter(monkeypatch):
    """Its time goes into programs, whatever their size: make few."""
    if not HAS_CUDA:
        monkeypatch.setattr(triton_backend, "FORWARD_BLOCK_NUMBERS", 4096)
        monkeypatch.setattr(triton_backend, "BACKWARD_BLOCK_NUMBERS", 4096)


def make_case(kind, dtype=torch.float32, **sizes):
    if not HAS_CUDA:
        sizes = {"shapes": SHAPES[:2], "points": 2, **sizes}
    return Case(kind, dtype, device=DEVICE, **sizes)


def compare(backend, case, dtype=torch.float32):
    """Against the reference in double precision, given the same rounded numbers."""
    results = case.run(backend)
    for name, tensor in case.tensors.items():
        assert results[name].dtype == tensor.dtype
    assert results["output"].dtype == dtype
    assert_near(results, case.to(torch.float64).run("reference"), *TOLERANCES[dtype])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", BACKENDS)
class TestBothOperators:
    @pytest.mark.parametrize("dtype", TOLERANCES)
    def test_dtypes(self, backend, kind, dtype):
        # An interpreted program takes as long for many rows as for one.
        sizes = {"queries": 997, "heads": 8} if HAS_CUDA else {}
        compare(backend, make_case(kind, dtype, head_dims=32, **sizes), dtype)

    @pytest.mark.parametrize("head_dims", [5, 8, 24, 64])
    def test_head_dims(self, backend, kind, head_dims):
        compare(backend, make_case(kind, head_dims=head_dims))

    @pytest.mark.parametrize(
        ("shapes", "points"), [(((1, 9),), 5), ((*SHAPES, (1, 1)), 4)]
    )
    def test_levels_and_points(self, backend, kind, shapes, points):
        compare(backend, make_case(kind, shapes=shapes, points=points))

    def test_half_locations(self, backend, kind):
        case = make_case(kind, torch.float16).to(torch.float16)
        compare(backend, case, torch.float16)

    def test_all_points_outside(self, backend, kind):
        case = make_case(kind)
        case.tensors["sampling_locations"][:, 3] += 5
        assert case.run(backend)["output"][:, 3].eq(0).all()
        compare(backend, case)

    def test_borders_and_corners(self, backend, kind):
        case = make_case(kind)
        # Just inside and outside of the band of half a pixel around each map.
        choices = torch.tensor([-0.2, -1e-3, 1e-3, 0.999, 1.001, 1.2], device=DEVICE)
        shape = case.tensors["sampling_locations"].shape
        picks = torch.arange(shape.numel(), device=DEVICE) * 7 % 6
        case.tensors["sampling_locations"] = choices[picks].view(shape)
        compare(backend, case)

    @pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e9, -1e30])
    def test_locations_that_are_no_numbers_count_as_outside(
        self, backend, kind, number
    ):
        case = make_case(kind)
        locations = case.tensors["sampling_locations"]
        locations[:, ::3, :, 1, 0, 0] = number
        locations[:, 1::3, :, 0, 1, 1] = -number
        results = case.run(backend)

        is_number = locations.isfinite().logical_and(locations.abs() < 2)
        case.tensors["sampling_locations"] = locations.where(is_number, 5.0)
        assert_near(results, case.run("reference"), 2e-5, 5e-5)

    def test_non_contiguous(self, backend, kind):
        case = make_case(kind)
        contiguous = case.run(backend)
        for name, tensor in case.tensors.items():
            case.tensors[name] = tensor.transpose(0, -1).contiguous().transpose(0, -1)
        assert_near(case.run(backend), contiguous, 1e-5, 1e-5)

    def test_int32_levels(self, backend, kind):
        case = make_case(kind)
        expected = case.run(backend)
        case.spatial_shapes = case.spatial_shapes.int()
        case.level_start_index = case.level_start_index.int()
        assert_near(case.run(backend), expected, 1e-5, 1e-5)

    @pytest.mark.parametrize("sizes", [{"queries": 0}, {"batch": 0}, {"points": 0}])
    def test_empty(self, backend, kind, sizes):
        case = make_case(kind, **sizes)
        results = case.run(backend)
        for name, tensor in case.tensors.items():
            assert results[name].shape == tensor.shape
            assert results[name].eq(0).all()
        assert results["output"].eq(0).all()

    def test_second_derivative_is_refused(self, backend, kind):
        case = make_case(kind)
        value = case.tensors["value"].requires_grad_()
        (grad,) = torch.autograd.grad(
            case.call(backend).square().sum(), value, create_graph=True
        )
        with pytest.raises(RuntimeError, match="backend='reference'"):
            grad.sum().backward()

    def test_opcheck(self, backend, kind):
        case = make_case(kind, torch.float16, batch=1, queries=3, heads=1)
        for operator, arguments in case.operator_calls(backend):
            torch.library.opcheck(operator, arguments)

    def test_compiles_without_graph_breaks(self, backend, kind):
        case = make_case(kind)
        expected = case.run(backend)
        compiler = "inductor" if HAS_CUDA else "aot_eager"
        case.call = torch.compile(case.call, fullgraph=True, backend=compiler)
        torch._dynamo.reset()
        assert_near(case.run(backend), expected, 1e-5, 1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS[:2])
class TestKeyAware:
    def test_large_logits(self, backend, kind):
        case = make_case(kind, head_dims=32)
        name = "value" if kind == "key is value" else "key"
        norms = case.tensors["query"].norm(dim=-1, keepdim=True)
        case.tensors["query"] *= 50 * 32**0.5 / norms
        case.tensors[name] /= case.tensors[name].norm(dim=-1, keepdim=True)
        compare(backend, case)


@pytest.mark.parametrize("backend", BACKENDS)
def test_key_is_value_by_identity_and_by_copy(backend):
    case = make_case("key is value")
    alone = case.run(backend)
    value = case.tensors["value"]
    assert torch.equal(case.call(backend, key=value), alone["output"])
    case.tensors["key"] = value.clone()
    apart = case.run(backend)
    apart["value"] += apart.pop("key")
    assert_near(apart, alone, 1e-5, 1e-5)


@pytest.mark.parametrize("backend", BACKENDS[:1])
@pytest.mark.parametrize("kind", KINDS)
def test_several_programs(backend, kind, monkeypatch):
    monkeypatch.setattr(triton_backend, "FORWARD_BLOCK_NUMBERS", 256)
    monkeypatch.setattr(triton_backend, "BACKWARD_BLOCK_NUMBERS", 128)
    # 70 rows in blocks of 32 and of 16, which straddle heads and images.
    compare(backend, make_case(kind, batch=2, queries=7, heads=5, shapes=SHAPES[:1]))


@pytest.mark.parametrize("backend", BACKENDS[:1])
def test_offsets_beyond_32_bits(backend):
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


@pytest.mark.skipif(not HAS_CUDA, reason="there is no GPU")
class TestChoice:
    def test_auto_is_the_best_that_runs(self):
        case = make_case("key is value")
        best = available_backends(DEVICE, torch.float32)[0]
        assert_identical({"output": case.call("auto")}, {"output": case.call(best)})

    def test_double_is_left_to_the_reference(self):
        assert available_backends(DEVICE, torch.float64) == ["reference"]
