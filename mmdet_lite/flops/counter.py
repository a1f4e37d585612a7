"""FLOPs and parameters of a detector, by the rule that reproduces the paper's tables.

The counter is mmengine's ``FlopAnalyzer``; this module says what it counts. A FLOP is
one multiply-accumulate. The count is of one image, in evaluation mode, from the padded
image to the head's outputs: no denoising queries, no post-processing.

====================================================  =============================
counted                                               FLOPs
====================================================  =============================
convolution, linear, ``matmul``, ``bmm``, einsum      multiply-accumulates, no bias
LayerNorm                                             5 · numel
``grid_sample``, bilinear resizing                    4 · numel of the output
plain deformable attention: sampling                  4 · samples
key-aware attention: sampling of keys and of values   8 · samples
the same: query · key and weights · value             2 · samples
====================================================  =============================

*samples* is batch · queries · heads · levels · points · head_dims. Keys and values are
two gathers in the paper's code and by the rule, even where they are equal and the
operator gathers once. Logits that the query predicts are counted as the linear layer
that they are; adding them is free. It does not matter what runs the attention: C++,
Triton, mmcv's CUDA operator and ``grid_sample`` count alike.

Free are softmax, activations, elementwise arithmetic (with it the weighted sum of plain
deformable attention), reductions, pooling, BatchNorm (it folds into its convolution),
GroupNorm, nearest resizing, sorting and the moving of data. Free too are the products
of queries with keys and of weights with values in ``nn.MultiheadAttention`` and mmdet's
``ConditionalAttention``: the published totals come out without them. In a decoder with
900 queries they are 2.5 G; ``attention_products`` reports them beside the total. The
products in Swin's windows are counted.

An operation belongs to the part that owns its layer. The box and class branches thus
count for the head wherever they are called: on the encoder's tokens for proposals and
inside the decoder to refine boxes too. What no part owns, such as ``memory_trans_fc``
and ``memory_trans_norm`` of two-stage models, is the ``rest``. An operation neither
counted nor free is reported as ``uncounted``.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from math import prod
from typing import Any

import torch
from mmdet.models.layers.transformer.utils import ConditionalAttention
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.analysis import FlopAnalyzer, parameter_count
from mmengine.analysis.jit_handles import (
    Handle,
    conv_flop_jit,
    einsum_flop_jit,
    elementwise_flop_counter,
    get_shape,
)
from mmengine.config import Config
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..errors import ConfigError
from ..layers.key_aware_attention import KeyAwareDeformableAttention
from ..model_config import without_pretrained_weights
from .counted_operators import (
    ATTENTION_HANDLES,
    KEY_AWARE_PRODUCTS,
    SAMPLING,
    counted_operators,
)
from .shapes_only import ShapesOnly

PARTS = ("backbone", "neck", "encoder", "decoder", "head")
"""The parts of a detector that are counted apart, beside the ``rest``."""

_ATTENTION_PRODUCTS = "attention_products"
_DETECTOR = "detector"

# Free operations besides those that mmengine ignores by itself; "_" at the end, for
# operations in place, is left out.
_FREE_NAMES = """
    __or__ __xor__ _shape_as_tensor abs adaptive_avg_pool2d adaptive_max_pool2d add
    addcmul all any argmax argmin argsort avg_pool2d batch_norm bitwise_or ceil
    clone cos cumsum div elu erf exp expand_as fill flip gelu group_norm hardsigmoid
    hardswish hardtanh im2col instance_norm isfinite le leaky_relu linspace log log2
    log_softmax logical_and logical_not logical_or lt mT masked_fill max_pool2d
    maximum mean meshgrid min minimum mul nan_to_num ne neg new_ones norm ones_like
    pad pow prelu prod reciprocal repeat repeat_interleave round rsqrt rsub scatter
    sigmoid sign silu sin softmax softplus sort sqrt square std sub sum tanh tile
    topk tril triu unflatten unfold upsample_nearest2d var where
"""
_FREE = frozenset(_FREE_NAMES.split())


def count_flops(
    cfg: Config, image_shape: tuple[int, int] = (800, 1066)
) -> dict[str, Any]:
    """Build the detector of a config and count it; pretrained weights are not loaded.

    mmdet's modules must be registered (``mmdet.utils.register_all_modules``).

    Args:
        cfg: a whole config of a detector; it is left as it is.
        image_shape: (height, width) of the image before padding.

    Returns:
        dict: as :func:`count_model_flops`.

    Raises:
        ConfigError: the config has no model, or the model cannot be counted.
    """
    if cfg.get("model") is None:
        raise ConfigError("the config has no model")
    model = MODELS.build(without_pretrained_weights(cfg.model))
    return count_model_flops(revert_sync_batchnorm(model), image_shape)


def count_model_flops(
    model: BaseModel, image_shape: tuple[int, int] = (800, 1066)
) -> dict[str, Any]:
    """Count a detector that is built, on the device where it is.

    Args:
        model: a detector of mmdet.
        image_shape: (height, width) of the image before padding.

    Returns:
        dict: FLOPs, by the rule at the top of this module, and parameters:

        * ``total``: of the detector, the sum of the next six.
        * ``backbone``, ``neck``, ``encoder``, ``decoder``, ``head``: 0 for a part that
          the detector does not have; ``head`` is all children named ``..._head``.
        * ``rest``: everything else.
        * ``rest_by_module``: the rest, child by child; ``''`` is what the detector
          computes outside of its children.
        * ``encoder_paper``: the encoder as in the paper's column, without attention's
          samples and products and without the projection of KDA's query.
        * ``attention_products``: left out of the total, see the rule.
        * ``uncounted``: how often each kind of operation was met that the rule does
          not know; the total lacks them.
        * ``params``: all parameters, frozen ones and those of BatchNorm too.
        * ``tokens``: tokens that the encoder gives out, 0 without an encoder.
        * ``image_shape``, ``input_shape``: (height, width) before and after padding.

    Raises:
        ConfigError: ``image_shape`` is not two positive integers, or the detector
            cannot be traced on such an image.
    """
    height, width = _checked(image_shape)
    sample = DetDataSample(
        metainfo={
            "img_shape": (height, width),
            "ori_shape": (height, width),
            "scale_factor": (1.0, 1.0),
        },
        gt_instances=InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
        ),
    )
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    with _counting(model) as tokens:
        try:
            data = model.data_preprocessor(
                {"inputs": [image], "data_samples": [sample]}, False
            )
            analyzer = _analyzer(model, data["inputs"], data["data_samples"])
            analyzer.total()
        except Exception as error:
            raise ConfigError(
                f"{type(model).__name__} cannot be counted on an image of "
                f"{height}x{width}: {type(error).__name__}: {error}"
            ) from error
    return {
        **_split(analyzer, model),
        "attention_products": analyzer.by_operator()[_ATTENTION_PRODUCTS],
        "uncounted": _uncounted(analyzer),
        "params": parameter_count(model)[""],
        "tokens": tokens[-1] if tokens else 0,
        "image_shape": [height, width],
        "input_shape": list(data["inputs"].shape[-2:]),
    }


def table_of(counts: dict[str, Any]) -> str:
    """Lay out what :func:`count_flops` gives, in G and M, for a terminal."""
    rows = [(part, counts[part]) for part in (*PARTS, "rest")]
    lines = [f"{part:<10}{flops / 1e9:>9.2f} G" for part, flops in rows if flops]
    shape = "x".join(map(str, counts["image_shape"]))
    return "\n".join(
        [
            *lines,
            f"{'total':<10}{counts['total'] / 1e9:>9.2f} G   image {shape}",
            f"{'params':<10}{counts['params'] / 1e6:>9.2f} M",
            f"encoder by the paper's rule: {counts['encoder_paper'] / 1e9:.2f} G",
        ]
    )


def _checked(image_shape: tuple[int, int]) -> tuple[int, int]:
    if len(image_shape) != 2 or not all(
        isinstance(size, int) and size > 0 for size in image_shape
    ):
        raise ConfigError(
            "image_shape must be two positive integers (height, width), but got "
            f"{image_shape}"
        )
    return image_shape[0], image_shape[1]


@contextmanager
def _counting(model: BaseModel) -> Iterator[list[int]]:
    """Everything that a count needs around it; gives the encoder's tokens, when run."""
    tokens: list[int] = []

    def note_tokens(module: nn.Module, args: tuple, output: object) -> None:
        if torch.is_tensor(output) and output.dim() == 3:
            tokens.append(int(output.shape[1]))

    hooks = [
        module.register_forward_hook(note_tokens)
        for module in [getattr(model, "encoder", None)]
        if isinstance(module, nn.Module)
    ]
    was_training = model.training
    had_fast_path = torch.backends.mha.get_fastpath_enabled()
    model.eval()
    # It runs as one operator, which the counter could not take apart.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), counted_operators(), ShapesOnly():
            yield tokens
    finally:
        torch.backends.mha.set_fastpath_enabled(had_fast_path)
        model.train(was_training)
        for hook in hooks:
            hook.remove()


class _FromImage(nn.Module):
    """The detector as a function from an image to tensors, which a trace asks for."""

    def __init__(self, detector: nn.Module, data_samples: list[DetDataSample]) -> None:
        super().__init__()
        self.add_module(_DETECTOR, detector)
        self.data_samples = data_samples

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Run up to the head's outputs."""
        outputs = self.get_submodule(_DETECTOR)(
            inputs, self.data_samples, mode="tensor"
        )
        return tuple(_tensors_in(outputs))


def _tensors_in(outputs: object) -> Iterator[Tensor]:
    """All tensors of nested results: the trace drops what leads to none of them."""
    if torch.is_tensor(outputs):
        yield outputs
    elif isinstance(outputs, dict | InstanceData | DetDataSample):
        yield from _tensors_in(list(outputs.values()))
    elif isinstance(outputs, list | tuple):
        for output in outputs:
            yield from _tensors_in(output)


def _analyzer(
    model: BaseModel, inputs: Tensor, data_samples: list[DetDataSample]
) -> FlopAnalyzer:
    analyzer = FlopAnalyzer(_FromImage(model, data_samples), (inputs,))
    attention = frozenset(
        analyzer.canonical_module_name(f"{_DETECTOR}.{name}")
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, nn.MultiheadAttention | ConditionalAttention)
    )
    # mmengine's own handles stay in force unless they are cleared.
    analyzer.clear_op_handles().set_op_handle(**_handles(attention))
    return analyzer.unsupported_ops_warnings(False).uncalled_modules_warnings(False)


def _handles(attention: frozenset[str]) -> dict[str, Handle]:
    """The rule, by the operations of a trace."""
    sampled = elementwise_flop_counter(output_scale=4, input_scale=0)
    handles = {
        "aten::_convolution": conv_flop_jit,
        "aten::_convolution_mode": _count_convolution_mode,
        "aten::einsum": einsum_flop_jit,
        "aten::linear": partial(_count_product, 0),
        "aten::matmul": partial(_count_product, 0),
        "aten::mm": partial(_count_product, 0),
        "aten::addmm": partial(_count_product, 1),
        "aten::layer_norm": elementwise_flop_counter(5),
        "aten::grid_sampler": sampled,
        "aten::upsample_bilinear2d": sampled,
        **ATTENTION_HANDLES,
    }
    for kind, handle in {
        "aten::bmm": partial(_count_product, 0),
        "aten::baddbmm": partial(_count_product, 1),
        "aten::scaled_dot_product_attention": _count_dot_product_attention,
    }.items():
        handles[kind] = partial(_apart_in, attention, handle)
    return handles


def _count_product(left: int, inputs: list, outputs: list) -> int:
    """Each number of the output is a sum over the left operand's last dimension."""
    return prod(get_shape(outputs[0])) * get_shape(inputs[left])[-1]


def _count_convolution_mode(inputs: list, outputs: list) -> int:
    """A convolution whose padding is a word."""
    return prod(get_shape(outputs[0])) * prod(get_shape(inputs[1])[1:])


def _count_dot_product_attention(inputs: list, outputs: list) -> int:
    query, key, value = (get_shape(tensor) for tensor in inputs[:3])
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _apart_in(
    modules: frozenset[str], handle: Handle, inputs: list, outputs: list
) -> Counter | int:
    """Count under a name of its own what runs inside of these modules."""
    flops = handle(inputs, outputs)
    owner = outputs[0].node().scopeName().split("/")[-1]
    return Counter({_ATTENTION_PRODUCTS: flops}) if owner in modules else flops


def _split(analyzer: FlopAnalyzer, model: BaseModel) -> dict[str, Any]:
    """The total, the parts and the rest."""
    children = [name for name, _ in model.named_children()]
    counts = {name: _total(analyzer, f"{_DETECTOR}.{name}") for name in children}
    total = _total(analyzer, "")
    parts = {part: counts.pop(part, 0) for part in PARTS if part != "head"}
    parts["head"] = sum(counts.pop(name) for name in children if name.endswith("head"))
    outside = total - sum(parts.values()) - sum(counts.values())
    rest = {name: flops for name, flops in counts.items() if flops}
    if outside:
        rest[""] = outside
    return {
        "total": total,
        **parts,
        "rest": sum(rest.values()),
        "rest_by_module": rest,
        "encoder_paper": _encoder_paper(analyzer, model, parts["encoder"]),
    }


def _encoder_paper(analyzer: FlopAnalyzer, model: BaseModel, encoder: int) -> int:
    if not encoder:
        return 0
    by_operator = analyzer.by_operator(f"{_DETECTOR}.encoder")
    projections = (
        _total(analyzer, f"{name}.query_proj")
        for name, module in model.encoder.named_modules(prefix=f"{_DETECTOR}.encoder")
        if isinstance(module, KeyAwareDeformableAttention)
    )
    return (
        encoder
        - by_operator[SAMPLING]
        - by_operator[KEY_AWARE_PRODUCTS]
        - sum(projections)
    )


def _total(analyzer: FlopAnalyzer, module: str) -> int:
    by_operator = analyzer.by_operator(module)
    # einsum's handle gives floats.
    return int(sum(by_operator.values()) - by_operator[_ATTENTION_PRODUCTS])


def _uncounted(analyzer: FlopAnalyzer) -> dict[str, int]:
    def is_free(kind: str) -> bool:
        return (
            kind.removeprefix("aten::") in _FREE
            or kind.removeprefix("aten::").removesuffix("_") in _FREE
            or kind == "prim::PythonOp.NMSop"  # post-processing
        )

    met: Iterable[tuple[str, int]] = analyzer.unsupported_ops().items()
    return {kind: times for kind, times in sorted(met) if not is_free(kind)}
