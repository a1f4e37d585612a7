"""Random calls of the operators that any backend can be asked to run, and compared."""

from functools import partial

import torch

from mmdet_lite.ops import (
    key_aware_deformable_attention,
    multi_scale_deformable_attention,
)
from mmdet_lite.ops.example import run_with_gradients

SHAPES = ((7, 5), (4, 3), (2, 2))
KINDS = ("key is value", "separate key", "predicted logits", "plain")


class Case:
    """Random arguments of one of the operators, named as in the operators."""

    def __init__(
        self,
        kind,
        dtype=torch.float64,
        batch=2,
        queries=11,
        heads=3,
        head_dims=8,
        shapes=SHAPES,
        points=3,
        seed=0,
        device="cpu",
    ):
        self.kind = kind
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape):
            return torch.randn(*shape, dtype=torch.float64, generator=generator)

        tokens = [height * width for height, width in shapes]
        self.spatial_shapes = torch.tensor(shapes)
        self.level_start_index = torch.tensor(
            [sum(tokens[:level]) for level in range(len(shapes))]
        )
        locations = torch.rand(
            (batch, queries, heads, len(shapes), points, 2),
            dtype=torch.float64,
            generator=generator,
        )
        locations = keep_off_pixels(1.6 * locations - 0.3, shapes)
        half = dtype in (torch.float16, torch.bfloat16)
        self.tensors = {
            "value": normal(batch, sum(tokens), heads, head_dims).to(dtype),
            "sampling_locations": locations.to(torch.float32 if half else dtype),
        }
        if kind == "plain":
            weights = normal(*locations.shape[:-1]).flatten(-2).softmax(-1)
            self.tensors["attention_weights"] = weights.view(locations.shape[:-1]).to(
                dtype
            )
        else:
            self.tensors["query"] = normal(batch, queries, heads, head_dims).to(dtype)
        if kind == "separate key":
            self.tensors["key"] = normal(*self.tensors["value"].shape).to(dtype)
        if kind == "predicted logits":
            self.tensors["predicted_logits"] = normal(*locations.shape[:-1]).to(dtype)
        # Drawn on the CPU, so that the numbers are the same everywhere.
        self.spatial_shapes = self.spatial_shapes.to(device)
        self.level_start_index = self.level_start_index.to(device)
        self.tensors = {name: t.to(device) for name, t in self.tensors.items()}

    def to(self, dtype, locations_dtype=None):
        for name, tensor in self.tensors.items():
            wanted = dtype
            if name == "sampling_locations" and locations_dtype is not None:
                wanted = locations_dtype
            self.tensors[name] = tensor.detach().to(wanted)
        return self

    def call(self, backend, **changed):
        operator = (
            multi_scale_deformable_attention
            if self.kind == "plain"
            else key_aware_deformable_attention
        )
        return operator(
            **{**self.tensors, **changed},
            spatial_shapes=self.spatial_shapes,
            level_start_index=self.level_start_index,
            backend=backend,
        )

    def run(self, backend):
        """The output and the gradients of all tensors, by name."""
        return run_with_gradients(partial(self.call, backend), self.tensors)

    def operator_calls(self, suffix):
        """A backend's registered operators, with their arguments.

        They are the operator, its derivative, and one that has none where there is one.
        """
        name = "plain" if self.kind == "plain" else "key_aware"
        name = f"{name}_attention_{suffix}"
        value, locations = self.tensors["value"], self.tensors["sampling_locations"]
        levels = (self.spatial_shapes, self.level_start_index)
        if self.kind == "plain":
            inputs = (value, *levels, locations, self.tensors["attention_weights"])
        else:
            rows = (self.tensors["query"], value, self.tensors.get("key"))
            inputs = (*rows, *levels, locations, self.tensors.get("predicted_logits"))
        operator = getattr(torch.ops.mmdet_lite, name).default
        backward = getattr(torch.ops.mmdet_lite, f"{name}_backward").default
        results = operator(*inputs)
        results = results if isinstance(results, tuple) else (results,)
        # Between the gradient and the inputs the derivative takes what was saved, and
        # behind them, if it can do less than all, which gradients are needed.
        names = [argument.name for argument in backward._schema.arguments]
        num_saved = names.index(operator._schema.arguments[0].name) - 1
        saved = results[len(results) - num_saved :]
        needed = [
            tensor is not None and tensor is not locations
            for tensor in inputs
            if tensor is None or tensor.is_floating_point()
        ]
        last = [needed] if names[-1] == "needed" else []
        differentiable = [
            tensor.detach().requires_grad_()
            if tensor is not None and tensor.is_floating_point()
            else tensor
            for tensor in inputs
        ]
        yield operator, tuple(differentiable)
        yield backward, (torch.ones_like(results[0]), *saved, *inputs, *last)
        inference = getattr(torch.ops.mmdet_lite, f"{name}_inference", None)
        if inference is not None:
            yield inference.default, inputs


def keep_off_pixels(locations, shapes):
    """Moves locations off the pixel centres, where sampling has no derivative."""
    sizes = torch.tensor(shapes, dtype=torch.float64).flip(-1)[:, None]
    pixels = locations * sizes - 0.5
    fraction = (pixels - pixels.floor()).clamp(0.1, 0.9)
    return (pixels.floor() + fraction + 0.5) / sizes


def assert_near(results, expected, output_tolerance, gradient_tolerance):
    """Compares relative to the largest number of each tensor."""
    assert results.keys() == expected.keys()
    for name, wanted in expected.items():
        wanted = wanted.double()
        tolerance = output_tolerance if name == "output" else gradient_tolerance
        difference = (results[name].double() - wanted).abs().max()
        assert difference <= tolerance * wanted.abs().max(), name


def assert_identical(results, expected):
    assert results.keys() == expected.keys()
    for name, wanted in expected.items():
        assert torch.equal(results[name], wanted), name
