"""The fused C++ operators against the reference, value by value and gradient."""

import pytest
import torch
from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch
from operator_cases import KINDS, SHAPES, Case, assert_identical, assert_near

from mmdet_lite.ops import (
    BackendUnavailableError,
    available_backends,
    backends,
    cpp,
)

needs_kernels = pytest.mark.skipif(
    cpp.why_not(torch.device("cpu"), torch.float32) is not None,
    reason=f"{cpp.why_not(torch.device('cpu'), torch.float32)}",
)


def compare(case):
    """Against the reference in double precision."""
    assert_near(case.run("cpp"), case.run("reference"), 1e-12, 1e-12)


@needs_kernels
class TestAgainstReference:
    @pytest.mark.parametrize("kind", KINDS)
    # 5 and 12 are padded, 16, 32 and 64 are sizes with kernels of their own.
    @pytest.mark.parametrize("head_dims", [5, 8, 12, 16, 24, 32, 64, 72])
    def test_head_dims(self, kind, head_dims):
        compare(Case(kind, head_dims=head_dims))

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(
        ("shapes", "points"),
        [(SHAPES[:1], 1), (SHAPES, 5), ((*SHAPES, (1, 1)), 4), (((1, 9),), 16)],
    )
    def test_levels_and_points(self, kind, shapes, points):
        compare(Case(kind, shapes=shapes, points=points, head_dims=32))

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("head_dims", [8, 16, 24, 32, 64])
    def test_float32(self, kind, head_dims):
        case = Case(kind, torch.float32, queries=101, head_dims=head_dims)
        results = case.run("cpp")
        assert_near(results, case.to(torch.float64).run("reference"), 2e-5, 5e-5)

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(
        ("dtype", "tolerances"),
        [(torch.float16, (2e-3, 1e-2)), (torch.bfloat16, (1.6e-2, 5e-2))],
    )
    @pytest.mark.parametrize("half_locations", [False, True])
    def test_half_precision(self, kind, dtype, tolerances, half_locations):
        case = Case(kind, dtype, queries=23, head_dims=32)
        if half_locations:
            case.to(dtype)
        results = case.run("cpp")
        for name, tensor in case.tensors.items():
            assert results[name].dtype == tensor.dtype
        assert results["output"].dtype == dtype
        assert_near(results, case.to(torch.float32).run("reference"), *tolerances)

    def test_plain_takes_float32_weights_with_half_values(self):
        case = Case("plain", torch.bfloat16, head_dims=32)
        case.tensors["attention_weights"] = case.tensors["attention_weights"].float()
        results = case.run("cpp")
        assert results["attention_weights"].dtype == torch.float32
        assert_near(results, case.to(torch.float32).run("reference"), 1.6e-2, 5e-2)

    @pytest.mark.parametrize("kind", KINDS)
    def test_float32_locations_with_double_values(self, kind):
        compare(Case(kind).to(torch.float64, locations_dtype=torch.float32))

    @pytest.mark.parametrize("kind", KINDS)
    def test_all_points_outside(self, kind):
        case = Case(kind)
        case.tensors["sampling_locations"][:, 3] += 5
        compare(case)
        assert case.run("cpp")["output"][:, 3].eq(0).all()

    @pytest.mark.parametrize("kind", KINDS)
    def test_borders_and_corners(self, kind):
        case = Case(kind, head_dims=32)
        # Just inside and outside of the band of half a pixel around each map.
        choices = torch.tensor([-0.2, -1e-3, 1e-3, 0.999, 1.001, 1.2]).double()
        shape = case.tensors["sampling_locations"].shape
        picks = torch.arange(shape.numel()) * 7 % 6
        case.tensors["sampling_locations"] = choices[picks].view(shape)
        compare(case)

    @pytest.mark.parametrize("kind", KINDS[:2])
    def test_large_logits(self, kind):
        case = Case(kind, queries=101, head_dims=32)
        name = "value" if kind == "key is value" else "key"
        norms = case.tensors["query"].norm(dim=-1, keepdim=True)
        case.tensors["query"] *= 50 * 32**0.5 / norms
        case.tensors[name] /= case.tensors[name].norm(dim=-1, keepdim=True)
        compare(case)
        results = case.to(torch.float32).run("cpp")
        assert_near(results, case.to(torch.float64).run("reference"), 2e-5, 5e-5)

    @pytest.mark.parametrize("kind", KINDS)
    def test_non_contiguous(self, kind):
        case = Case(kind, head_dims=32)
        contiguous = case.run("cpp")
        for name, tensor in case.tensors.items():
            case.tensors[name] = tensor.transpose(0, -1).contiguous().transpose(0, -1)
            assert not case.tensors[name].is_contiguous()
        assert_identical(case.run("cpp"), contiguous)

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("sizes", [{"queries": 0}, {"batch": 0}, {"points": 0}])
    def test_empty(self, kind, sizes):
        case = Case(kind, **sizes)
        results = case.run("cpp")
        for name, tensor in case.tensors.items():
            assert results[name].shape == tensor.shape
            assert results[name].eq(0).all()
        assert results["output"].eq(0).all()

    def test_key_is_value_by_identity_and_by_copy(self):
        case = Case("key is value", head_dims=32)
        alone = case.run("cpp")
        value = case.tensors["value"]
        torch.testing.assert_close(case.call("cpp", key=value), alone["output"])
        torch.testing.assert_close(case.call("cpp", key=value.clone()), alone["output"])

        case.tensors["key"] = value.clone()
        apart = case.run("cpp")
        apart["value"] += apart.pop("key")
        assert_near(apart, alone, 1e-12, 1e-12)

    def test_int32_levels(self):
        case = Case("key is value")
        expected = case.run("cpp")
        case.spatial_shapes = case.spatial_shapes.int()
        case.level_start_index = case.level_start_index.int()
        assert_identical(case.run("cpp"), expected)

    def test_plain_against_mmcv(self):
        case = Case("plain", torch.float32, head_dims=32)
        expected = multi_scale_deformable_attn_pytorch(
            case.tensors["value"],
            case.spatial_shapes,
            case.tensors["sampling_locations"],
            case.tensors["attention_weights"],
        )
        torch.testing.assert_close(case.call("cpp"), expected)

    def test_constant_logits_are_uniform_weights(self):
        case = Case("key is value", head_dims=32)
        output = case.call("cpp", query=torch.zeros_like(case.tensors["query"]))
        locations = case.tensors["sampling_locations"]
        weights = locations.new_full(locations.shape[:-1], 1 / (len(SHAPES) * 3))
        case.kind = "plain"
        del case.tensors["query"]
        torch.testing.assert_close(output, case.call("cpp", attention_weights=weights))


@needs_kernels
class TestLocationsThatAreNoNumbers:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e9, -1e30])
    def test_count_as_outside(self, kind, number):
        case = Case(kind, torch.float32, head_dims=32)
        locations = case.tensors["sampling_locations"]
        locations[:, ::3, :, 1, 0, 0] = number
        locations[:, 1::3, :, 0, 1, 1] = -number
        results = case.run("cpp")

        outside = locations.isfinite().logical_and(locations.abs() < 2)
        case.tensors["sampling_locations"] = locations.where(outside, 5.0)
        assert_identical(results, case.run("cpp"))
        assert_near(results, case.run("reference"), 2e-5, 5e-5)


@needs_kernels
class TestNaNInOneQuery:
    # Numbers of samples that fill whole vectors, and that leave some of one empty.
    @pytest.mark.parametrize(("shapes", "points"), [(SHAPES, 1), (SHAPES, 4)])
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(
        "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16]
    )
    @pytest.mark.parametrize("threads", [1, 2])
    def test_stays_in_that_query(self, kind, dtype, shapes, points, threads):
        case = Case(
            kind, dtype, queries=300, head_dims=16, shapes=shapes, points=points
        )
        name = "attention_weights" if kind == "plain" else "query"
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            expected = case.run("cpp")
            case.tensors[name][0, 1] = float("nan")
            results = case.run("cpp")
        finally:
            torch.set_num_threads(before)
        others = torch.arange(300) != 1
        for part in ("output", name, "sampling_locations"):
            assert torch.equal(results[part][:, others], expected[part][:, others])
        assert results["output"][0, 1].isnan().all()
        assert torch.equal(results["value"][1], expected["value"][1])


@needs_kernels
class TestDifferentiation:
    @pytest.mark.parametrize("kind", KINDS)
    def test_gradcheck(self, kind):
        case = Case(kind, batch=1, queries=3, heads=2, head_dims=3, points=2)
        names = list(case.tensors)
        leaves = [tensor.requires_grad_() for tensor in case.tensors.values()]

        def function(*tensors):
            return case.call("cpp", **dict(zip(names, tensors, strict=True)))

        assert torch.autograd.gradcheck(function, leaves, eps=1e-6)

    @pytest.mark.parametrize("kind", KINDS)
    def test_some_inputs_need_no_gradient(self, kind):
        case = Case(kind)
        expected = case.run("cpp")["value"]
        value = case.tensors["value"].requires_grad_()
        output = case.call("cpp")
        generator = torch.Generator().manual_seed(1)
        output.backward(torch.randn(output.shape, generator=generator).double())
        assert torch.equal(value.grad, expected)

    @pytest.mark.parametrize("kind", KINDS)
    def test_second_derivative_is_refused(self, kind):
        case = Case(kind)
        value = case.tensors["value"].requires_grad_()
        (grad,) = torch.autograd.grad(
            case.call("cpp").square().sum(), value, create_graph=True
        )
        with pytest.raises(RuntimeError, match="backend='reference'"):
            grad.sum().backward()


@needs_kernels
class TestDeterminism:
    @pytest.mark.parametrize("kind", KINDS)
    def test_same_bits_for_any_number_of_threads(self, kind):
        case = Case(kind, torch.float32, queries=997, head_dims=32, points=4)
        threads = torch.get_num_threads()
        try:
            expected = case.run("cpp")
            for number in (1, 2, 3, 2):
                torch.set_num_threads(number)
                assert_identical(case.run("cpp"), expected)
        finally:
            torch.set_num_threads(threads)


@needs_kernels
class TestPyTorchIntegration:
    def operator_arguments(self, kind):
        case = Case(kind, torch.float32)
        tensors = {
            name: tensor.requires_grad_() for name, tensor in case.tensors.items()
        }
        levels = (case.spatial_shapes, case.level_start_index)
        value, locations = tensors["value"], tensors["sampling_locations"]
        if kind == "plain":
            weights = tensors["attention_weights"]
            return "plain_attention_cpu", (value, *levels, locations, weights)
        query, key = tensors["query"], tensors.get("key")
        return "key_aware_attention_cpu", (query, value, key, *levels, locations)

    @pytest.mark.parametrize("kind", KINDS)
    def test_opcheck(self, kind):
        name, arguments = self.operator_arguments(kind)
        operator = getattr(torch.ops.mmdet_lite, name)
        torch.library.opcheck(operator.default, arguments)

        backward = getattr(torch.ops.mmdet_lite, f"{name}_backward")
        detached = [None if a is None else a.detach() for a in arguments]
        grad_output = torch.ones_like(operator(*arguments)).detach()
        torch.library.opcheck(backward.default, (grad_output, *detached))

    @pytest.mark.parametrize("kind", KINDS)
    def test_compiles_without_graph_breaks(self, kind):
        case = Case(kind, torch.float32)
        expected = case.run("cpp")
        torch._dynamo.reset()
        eager = case.call
        compiled = torch.compile(
            lambda backend, **tensors: eager(backend, **tensors),
            fullgraph=True,
            backend="aot_eager",
        )
        case.call = compiled
        assert_identical(case.run("cpp"), expected)
        assert_identical(case.run("auto"), expected)

    def test_kernels_check_levels_themselves(self):
        case = Case("key is value")
        tensors = case.tensors
        operator = torch.ops.mmdet_lite.key_aware_attention_cpu
        for shapes, starts in (
            (case.spatial_shapes + 1, case.level_start_index),
            (case.spatial_shapes, case.level_start_index + 1),
            (case.spatial_shapes - 1, case.level_start_index),
            (-case.spatial_shapes, case.level_start_index),
        ):
            with pytest.raises(ValueError, match="tokens"):
                operator(
                    tensors["query"],
                    tensors["value"],
                    None,
                    shapes,
                    starts,
                    tensors["sampling_locations"],
                )

    def test_auto_is_the_fused_backend(self):
        assert available_backends()[0] == "cpp"
        case = Case("key is value")
        assert torch.equal(case.call("auto"), case.call("cpp"))

    @pytest.mark.parametrize(
        "sign",
        [
            "torch.jit.is_tracing",
            "torch.onnx.is_in_onnx_export",
            "torch.compiler.is_exporting",
        ],
    )
    def test_auto_is_the_reference_in_an_export(self, monkeypatch, sign):
        monkeypatch.setattr(sign, lambda: True, raising=False)
        arguments = (torch.device("cpu"), torch.float32)
        assert backends.select_backend("auto", *arguments).name == "reference"
        assert backends.select_backend("cpp", *arguments).name == "cpp"


class TestWithoutKernels:
    @pytest.fixture(autouse=True)
    def _kernels_missing(self, monkeypatch):
        monkeypatch.setattr(cpp, "_LOAD_FAILURE", "no compiler was there")
        monkeypatch.setattr(backends, "_WARNED_OF", set())

    def test_asking_by_name_raises(self):
        with pytest.raises(BackendUnavailableError, match="no compiler was there"):
            Case("plain").call("cpp")

    def test_auto_warns_once_and_falls_back(self, recwarn):
        case = Case("plain")
        for _ in range(2):
            assert torch.equal(case.call("auto"), case.call("reference"))
        assert available_backends() == ["reference"]
        messages = [str(warning.message) for warning in recwarn]
        assert sum("no compiler was there" in message for message in messages) == 1
