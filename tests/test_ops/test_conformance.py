"""What every backend must do, held against the reference: values and gradients.

Where there is no GPU, mmcv's kernels are emulated in PyTorch, and Triton's run in its
interpreter: test_triton_backend.py runs this file with TRITON_INTERPRET=1.
"""

import dataclasses
from functools import partial

import pytest
import torch
from emulated_mmcv import EmulatedKernels
from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch
from operator_cases import KINDS, SHAPES, Case, assert_identical, assert_near

from mmdet_lite.ops import available_backends, backends, dispatch
from mmdet_lite.ops.example import TOLERANCES, run_with_gradients

HAS_CUDA = torch.cuda.is_available()


@dataclasses.dataclass
class Subject:
    """A backend where it can run, and what it serves there."""

    name: str
    device: str
    dtypes: tuple[torch.dtype, ...]
    # Whether its sums have an order of their own, the same in every run.
    deterministic: bool = True
    # An interpreter's time goes into programs and their loops over samples, whatever
    # their size: few cases, of few samples.
    interpreted: bool = False

    @property
    def dtype(self):
        """The most precise dtype that it serves."""
        return self.dtypes[0]

    def case(self, kind, dtype=None, **sizes):
        if self.interpreted:
            sizes = {"shapes": SHAPES[:2], "points": 1, **sizes}
        return Case(kind, dtype or self.dtype, device=self.device, **sizes)

    def compare(self, case, dtype=None):
        """With the reference in double precision, given the same rounded numbers."""
        results = case.run(self.name)
        for name, tensor in case.tensors.items():
            assert results[name].dtype == tensor.dtype
        assert results["output"].dtype == case.tensors["value"].dtype
        expected = case.to(torch.float64).run("reference")
        assert_near(results, expected, *TOLERANCES[dtype or self.dtype])

    def assert_same(self, results, expected):
        """To the bit, but for the order of sums where the backend leaves it open."""
        if self.deterministic:
            assert_identical(results, expected)
        else:
            assert_near(results, expected, 1e-5, 1e-5)


ALL = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@pytest.fixture(
    params=[
        "cpp",
        pytest.param("triton", marks=pytest.mark.gpu),
        pytest.param("mmcv, adding", marks=pytest.mark.gpu),
        "mmcv, overwriting",
    ]
)
def subject(request, monkeypatch):
    name = request.param.split(",")[0]
    if name == "mmcv" and not HAS_CUDA:
        emulated = EmulatedKernels(overwrites=request.param.endswith("overwriting"))
        monkeypatch.setattr(backends.mmcv, "ext_module", emulated)
        served = dataclasses.replace(
            dispatch._BACKENDS["mmcv"], why_not=lambda device, dtype, sizes: None
        )
        monkeypatch.setitem(dispatch._BACKENDS, "mmcv", served)
        return Subject("mmcv", "cpu", ALL)
    if request.param == "mmcv, overwriting":
        pytest.skip("a GPU runs the kernels themselves")
    device = "cuda" if HAS_CUDA and name != "cpp" else "cpu"
    if name not in available_backends(device, torch.float32):
        reason = dispatch._BACKENDS[name].why_not(
            torch.device(device), torch.float32, None
        )
        pytest.skip(f"backend {name!r} cannot run here: {reason}")
    if name == "triton":
        if not HAS_CUDA:
            monkeypatch.setattr(backends.triton, "FORWARD_BLOCK_NUMBERS", 4096)
            monkeypatch.setattr(backends.triton, "BACKWARD_BLOCK_NUMBERS", 4096)
        return Subject(
            name, device, ALL[1:], deterministic=False, interpreted=not HAS_CUDA
        )
    if name == "mmcv":
        return Subject(name, device, ALL[1:], deterministic=False)
    return Subject(name, device, ALL)


@pytest.mark.parametrize("kind", KINDS)
class TestBothOperators:
    # 5 and 12 are padded; 16, 32 and 64 may have kernels of their own.
    @pytest.mark.parametrize("head_dims", [5, 8, 12, 16, 24, 32, 64, 72])
    def test_head_dims(self, subject, kind, head_dims):
        subject.compare(subject.case(kind, head_dims=head_dims))

    @pytest.mark.parametrize(
        ("shapes", "points"),
        [(SHAPES[:1], 1), (SHAPES, 5), ((*SHAPES, (1, 1)), 4), (((1, 9),), 16)],
    )
    def test_levels_and_points(self, subject, kind, shapes, points):
        if len(shapes) * points == 1 and torch.float64 not in subject.dtypes:
            pytest.skip("a softmax over one sample has rounding for a gradient")
        subject.compare(subject.case(kind, shapes=shapes, points=points))

    @pytest.mark.parametrize("head_dims", [8, 16, 24, 32, 64])
    def test_float32(self, subject, kind, head_dims):
        if subject.interpreted:
            pytest.skip("with as few queries it is test_head_dims")
        case = subject.case(kind, torch.float32, queries=101, head_dims=head_dims)
        subject.compare(case, torch.float32)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    @pytest.mark.parametrize("half_locations", [False, True])
    def test_half_precision(self, subject, kind, dtype, half_locations):
        case = subject.case(kind, dtype, head_dims=32)
        if half_locations:
            case.to(dtype)
        subject.compare(case, dtype)

    def test_float32_locations_with_double_values(self, subject, kind):
        if torch.float64 not in subject.dtypes:
            pytest.skip("it does not serve float64")
        case = subject.case(kind).to(torch.float64, locations_dtype=torch.float32)
        results = case.run(subject.name)
        assert results["sampling_locations"].dtype == torch.float32
        assert_near(results, case.run("reference"), 1e-12, 1e-12)

    def test_all_points_outside(self, subject, kind):
        case = subject.case(kind)
        case.tensors["sampling_locations"][:, 3] += 5
        assert case.run(subject.name)["output"][:, 3].eq(0).all()
        subject.compare(case)

    def test_borders_and_corners(self, subject, kind):
        case = subject.case(kind, head_dims=32)
        # Just inside and outside of the band of half a pixel around each map.
        locations = case.tensors["sampling_locations"]
        choices = torch.tensor([-0.2, -1e-3, 1e-3, 0.999, 1.001, 1.2]).to(locations)
        picks = torch.arange(locations.numel(), device=locations.device) * 7 % 6
        case.tensors["sampling_locations"] = choices[picks].view(locations.shape)
        subject.compare(case)

    def test_locations_that_are_no_numbers_count_as_outside(self, subject, kind):
        case = subject.case(kind, torch.float32, head_dims=32)
        locations = case.tensors["sampling_locations"]
        for index, number in enumerate((float("nan"), float("inf"), 1e9, -1e30)):
            # Of each a query in x and one in y; the last three queries have none.
            locations[:, 2 * index, :, 1, 0, 0] = number
            locations[:, 2 * index + 1, :, 0, -1, 1] = -number
        results = case.run(subject.name)
        is_number = locations.isfinite().logical_and(locations.abs() < 2)
        case.tensors["sampling_locations"] = locations.where(is_number, 5.0)
        subject.assert_same(results, case.run(subject.name))
        assert_near(results, case.run("reference"), *TOLERANCES[torch.float32])

    def test_non_contiguous(self, subject, kind):
        case = subject.case(kind, head_dims=32)
        contiguous = case.run(subject.name)
        for name, tensor in case.tensors.items():
            case.tensors[name] = tensor.transpose(0, -1).contiguous().transpose(0, -1)
            assert not case.tensors[name].is_contiguous()
        subject.assert_same(case.run(subject.name), contiguous)

    def test_int32_levels(self, subject, kind):
        case = subject.case(kind)
        expected = case.run(subject.name)
        case.spatial_shapes = case.spatial_shapes.int()
        case.level_start_index = case.level_start_index.int()
        subject.assert_same(case.run(subject.name), expected)

    @pytest.mark.parametrize("sizes", [{"queries": 0}, {"batch": 0}, {"points": 0}])
    def test_empty(self, subject, kind, sizes):
        case = subject.case(kind, **sizes)
        results = case.run(subject.name)
        for name, tensor in case.tensors.items():
            assert results[name].shape == tensor.shape
            assert results[name].eq(0).all()
        assert results["output"].eq(0).all()

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
    def test_output_without_gradients(self, subject, kind, dtype):
        case = subject.case(kind, dtype, queries=3, heads=1)
        expected = case.run(subject.name)["output"]
        assert torch.equal(case.call(subject.name), expected)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_gradients_in_float32_have_its_precision(self, subject, kind, dtype):
        case = subject.case(kind, dtype, queries=3, heads=1)

        def gradient(backend):
            leaf = case.tensors["sampling_locations"].detach().requires_grad_()
            output = case.call(backend, sampling_locations=leaf)
            return {"locations": torch.autograd.grad(output.sum(), leaf)[0]}

        results = gradient(subject.name)
        assert results["locations"].dtype == torch.float32
        case.to(torch.float64)
        assert_near(results, gradient("reference"), 0, 1e-4)

    def test_a_gradient_alone_is_that_among_all(self, subject, kind):
        case = subject.case(kind, queries=3, heads=1)
        expected = case.run(subject.name)
        for name, tensor in case.tensors.items():
            results = run_with_gradients(
                partial(case.call, subject.name), {name: tensor}
            )
            subject.assert_same(results, {n: expected[n] for n in ("output", name)})

    def test_second_derivative_is_refused(self, subject, kind):
        case = subject.case(kind)
        value = case.tensors["value"].requires_grad_()
        (grad,) = torch.autograd.grad(
            case.call(subject.name).square().sum(), value, create_graph=True
        )
        with pytest.raises(RuntimeError, match="backend='reference'"):
            grad.sum().backward()

    def test_opcheck(self, subject, kind):
        dtype = torch.float32 if subject.name == "cpp" else torch.float16
        case = subject.case(kind, dtype, batch=1, queries=3, heads=1)
        suffix = "cpu" if subject.name == "cpp" else subject.name
        for operator, arguments in case.operator_calls(suffix):
            torch.library.opcheck(operator, arguments)

    def test_compiles_without_graph_breaks(self, subject, kind):
        case = subject.case(kind, torch.float32)
        expected = case.run(subject.name)
        compiler = "inductor" if subject.device == "cuda" else "aot_eager"
        case.call = torch.compile(case.call, fullgraph=True, backend=compiler)
        torch._dynamo.reset()
        subject.assert_same(case.run(subject.name), expected)
        if subject.name == "cpp":
            subject.assert_same(case.run("auto"), expected)


@pytest.mark.parametrize("kind", KINDS[:2])
def test_large_logits(subject, kind):
    sizes = {} if subject.interpreted else {"queries": 101}
    for dtype in {torch.float64, torch.float32} & set(subject.dtypes):
        case = subject.case(kind, dtype, head_dims=32, **sizes)
        name = "value" if kind == "key is value" else "key"
        norms = case.tensors["query"].norm(dim=-1, keepdim=True)
        case.tensors["query"] *= 50 * 32**0.5 / norms
        case.tensors[name] /= case.tensors[name].norm(dim=-1, keepdim=True)
        subject.compare(case, dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS[:2])
def test_logits_that_float16_cannot_hold(subject, kind, dtype):
    """Products of half precision are added, and become weights, in float32."""
    case = subject.case(kind, dtype, head_dims=32)
    name = "value" if kind == "key is value" else "key"
    case.tensors["query"] *= 300
    case.tensors[name] *= 100
    pairs = (case.tensors[row].float() for row in ("query", name))
    products = torch.einsum("bqhd,bthd->bqht", *pairs)
    assert products.abs().max() > torch.finfo(torch.float16).max
    results = case.run(subject.name)
    assert all(result.isfinite().all() for result in results.values())
    expected = case.to(torch.float64).run("reference")
    # The weights are all but 0 and 1, and so no gradient but the value's is left.
    kept = ("output", "value")
    assert_near(
        {name: results[name] for name in kept},
        {name: expected[name] for name in kept},
        *TOLERANCES[dtype],
    )


def test_key_is_value_by_identity_and_by_copy(subject):
    case = subject.case("key is value", head_dims=32)
    alone = case.run(subject.name)
    value = case.tensors["value"]
    assert torch.equal(case.call(subject.name, key=value), alone["output"])
    output = case.call(subject.name, key=value.clone())
    torch.testing.assert_close(output, alone["output"])
    case.tensors["key"] = value.clone()
    apart = case.run(subject.name)
    apart["value"] += apart.pop("key")
    tolerance = 1e-12 if subject.dtype == torch.float64 else 1e-5
    assert_near(apart, alone, tolerance, tolerance)


def test_plain_takes_float32_weights_with_half_values(subject):
    case = subject.case("plain", torch.bfloat16, head_dims=32)
    case.tensors["attention_weights"] = case.tensors["attention_weights"].float()
    subject.compare(case, torch.bfloat16)


def test_key_aware_takes_float32_predictions_with_half_values(subject):
    case = subject.case("predicted logits", torch.bfloat16, head_dims=32)
    case.tensors["predicted_logits"] = case.tensors["predicted_logits"].float()
    subject.compare(case, torch.bfloat16)


def test_predictions_alone_are_the_logits_of_plain_attention(subject):
    case = subject.case("predicted logits", head_dims=32)
    output = case.call(subject.name, query=torch.zeros_like(case.tensors["query"]))
    del case.tensors["query"]
    logits = case.tensors.pop("predicted_logits")
    weights = logits.flatten(3).softmax(-1).view(logits.shape)
    case.kind = "plain"
    expected = case.call(subject.name, attention_weights=weights)
    torch.testing.assert_close(output, expected)


def test_predictions_of_zero_change_nothing(subject):
    case = subject.case("separate key", head_dims=32)
    expected = case.run(subject.name)
    locations = case.tensors["sampling_locations"]
    case.tensors["predicted_logits"] = torch.zeros_like(locations[..., 0])
    results = case.run(subject.name)
    del results["predicted_logits"]
    subject.assert_same(results, expected)


def test_samples_predicted_at_minus_infinity_have_no_weight(subject):
    """The first of a row too, where a running maximum begins."""
    case = subject.case("predicted logits", torch.float32, head_dims=32, points=2)
    case.tensors["predicted_logits"][..., 0, :] = -torch.inf
    subject.compare(case, torch.float32)


def test_plain_is_the_operator_of_mmcv(subject):
    case = subject.case("plain", torch.float32, head_dims=32)
    expected = multi_scale_deformable_attn_pytorch(
        case.tensors["value"],
        case.spatial_shapes,
        case.tensors["sampling_locations"],
        case.tensors["attention_weights"],
    )
    torch.testing.assert_close(case.call(subject.name), expected)


def test_constant_logits_are_uniform_weights(subject):
    case = subject.case("key is value", head_dims=32)
    output = case.call(subject.name, query=torch.zeros_like(case.tensors["query"]))
    locations = case.tensors["sampling_locations"]
    num_samples = locations.shape[3] * locations.shape[4]
    weights = locations.new_full(locations.shape[:-1], 1 / num_samples)
    case.kind = "plain"
    del case.tensors["query"]
    expected = case.call(subject.name, attention_weights=weights)
    torch.testing.assert_close(output, expected)


def test_sums_in_an_order_of_their_own_are_told(subject):
    """``torch.use_deterministic_algorithms`` is honoured."""
    case = subject.case("key is value")
    torch.use_deterministic_algorithms(True)
    try:
        if subject.name == "cpp":
            case.run("cpp")
            return
        with pytest.raises(RuntimeError, match="does not have a deterministic"):
            case.run(subject.name)
        torch.use_deterministic_algorithms(True, warn_only=True)
        with pytest.warns(UserWarning, match="does not have a deterministic"):
            case.run(subject.name)
    finally:
        torch.use_deterministic_algorithms(False)
