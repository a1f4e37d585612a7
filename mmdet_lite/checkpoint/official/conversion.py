"""Convert weights of the official Lite-DINO to mmdet's names and back, bit by bit.

Nothing is transposed. Only the rows of the class layers are selected: the official
classes are COCO's category ids, mmdet's are the 80 categories in order.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...errors import ConfigError
from ...messages import first_few
from ..fit import BATCH_COUNTER
from .names import Layout, counterpart_of

# The 80 categories that COCO annotates, of ids up to 90.
COCO_CATEGORY_IDS = (
    *range(1, 12),
    *range(13, 26),
    *range(27, 29),
    *range(31, 45),
    *range(46, 66),
    67,
    70,
    *range(72, 83),
    *range(84, 91),
)
NUM_OFFICIAL_CLASSES = 91

# Logits of an invented class: no proposal or detection can be chosen by it.
INVENTED_BIAS = -100.0

# Names that a message spells out.
_NAMED = 20
# Why a name has no counterpart.
_HEAD_ELSEWHERE = "the heads are no part of mmdet's decoder"
_UNUSED = "plain attention does not use it"
_COUNTER = "counts batches; frozen BatchNorm does not use it"
_NO_CATEGORY = "rows of no category"


class ConversionError(ConfigError):
    """Weights are not those of a Lite-DINO, or cannot have the other form."""


@dataclass
class Conversion:
    """Converted weights, and what became of every name.

    Args:
        state_dict (dict[str, Tensor]): the converted weights.
        mapped (dict[str, str]): names of the result with those they came from.
        dropped (dict[str, str]): source names, in whole or in part, with the reason.
        invented (dict[str, str]): names of the result that have no source, with the
            reason.
        leftovers (dict[str, Tensor]): what an official state dict holds beyond mmdet's
            model, by official name. The way back puts it where it was, and lists here
            what it used.
    """

    state_dict: dict[str, Tensor] = field(default_factory=dict)
    mapped: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    invented: dict[str, str] = field(default_factory=dict)
    leftovers: dict[str, Tensor] = field(default_factory=dict)


def convert_official(
    state_dict: Mapping[str, Tensor],
    prefix: str = "",
    keep_all_classes: bool = False,
) -> Conversion:
    """Convert official weights to mmdet's names.

    Works for any width, depth and number of levels, for a whole model and for a module
    of it. Every name has to be known and none may be missing: weights that fit only
    nearly would load with a warning and be wrong.

    Args:
        state_dict: official names with tensors; a ``module.`` before all of them is
            left out.
        prefix: official name of the module that these weights are of, such as
            ``'transformer.encoder.layers.0'``; names then are relative to it, and those
            of the result to its counterpart in mmdet. Defaults to the whole model.
        keep_all_classes: keep every row of the class layers, so that labels are the
            official indices: for comparison with the official model, or for classes
            that are not COCO's. Defaults to False: the rows of COCO's 80 categories.

    Returns:
        Conversion: weights by mmdet's names, which share memory with the given ones
        where they are not selected.

    Raises:
        ConversionError: a name is unknown or missing, a second copy of a head differs
            from the first, or a class layer has not COCO's number of rows.
        ConfigError: there is no such module, or the backbone is no ResNet.
    """
    prefix, mmdet_prefix = _both_prefixes(prefix)
    if all(name.startswith("module.") for name in state_dict):
        state_dict = {
            name.removeprefix("module."): tensor for name, tensor in state_dict.items()
        }
    official = {prefix + name: tensor for name, tensor in state_dict.items()}
    layout = Layout.of_official(official)
    names = _below(layout.names(), prefix)
    aliases = _below(layout.aliases(), prefix)
    unused = _below(layout.unused(), prefix)
    counters = [name for name in official if _is_batch_counter(name)]
    # The decoder's own copies of the heads; absent where a decoder stands by itself.
    copies = {alias: first for alias, first in aliases.items() if first in names}
    _require_names(
        official,
        expected={**names, **copies},
        allowed={*aliases, *unused, *counters},
        kind="an official Lite-DINO",
    )

    result = Conversion()
    for alias, first in copies.items():
        if not _same(official[alias], official[first]):
            raise ConversionError(
                f"{alias} differs from {first}, but both are the same head"
            )
        result.dropped[alias] = f"the same as {first}"
    for name, reason in (
        *((alias, _HEAD_ELSEWHERE) for alias in aliases if alias not in copies),
        *((name, _UNUSED) for name in unused),
        *((name, _COUNTER) for name in counters),
    ):
        if name in official:
            result.leftovers[name] = official[name]
            result.dropped[name] = reason

    num_classes = _num_classes(official, names)
    for name, mmdet_name in names.items():
        tensor = official[name]
        if _has_class_rows(name):
            rows = _class_rows(name, len(tensor), num_classes, keep_all_classes)
            others = _other_rows(rows, len(tensor))
            if others:
                result.leftovers[name] = tensor[others]
                result.dropped[f"{name}[{_spans(others)}]"] = _NO_CATEGORY
                tensor = tensor[rows]
        result.state_dict[mmdet_name] = tensor
        result.mapped[mmdet_name] = name
    return _relative(result, source=prefix, target=mmdet_prefix, official=prefix)


def to_official(
    state_dict: Mapping[str, Tensor],
    prefix: str = "",
    keep_all_classes: bool = False,
    leftovers: Mapping[str, Tensor] | None = None,
) -> Conversion:
    """Convert weights of a Lite-DINO in mmdet to the official names.

    With the leftovers of :func:`convert_official` the official weights come back bit
    by bit. Without them, rows of classes that mmdet does not have, and projections that
    plain attention does not use, are invented so that they change no prediction.

    Args:
        state_dict: mmdet's names with tensors.
        prefix: official name of the module that these weights are of, as for
            :func:`convert_official`; names are relative to its counterpart in mmdet,
            those of the result to it.
        keep_all_classes: the class layers have a row for every official class.
        leftovers: ``Conversion.leftovers`` of the conversion from official weights.

    Returns:
        Conversion: weights by official names, copies of a head sharing memory.

    Raises:
        ConversionError: a name is unknown or missing, the decoder layers' heads
            differ (the official code has one head for all), a class layer has not the
            number of rows of COCO's categories, or the leftovers do not fit.
        ConfigError: there is no such module, or the backbone is no ResNet.
    """
    prefix, mmdet_prefix = _both_prefixes(prefix)
    mmdet = {mmdet_prefix + name: tensor for name, tensor in state_dict.items()}
    leftovers = {prefix + name: tensor for name, tensor in (leftovers or {}).items()}
    layout = Layout.of_mmdet(mmdet)
    names = _below(layout.names(), prefix)
    aliases = _below(layout.aliases(), prefix)
    unused = _below(layout.unused(), prefix)
    counters = [name for name in mmdet if _is_batch_counter(name)]
    missing_bias = {
        name: mmdet_name
        for name, mmdet_name in names.items()
        if re.fullmatch(r"neck\..*\.conv\.bias", mmdet_name) and mmdet_name not in mmdet
    }
    _require_names(
        mmdet,
        expected=set(names.values()) - set(missing_bias.values()),
        allowed={*names.values(), *counters},
        kind="a Lite-DINO of mmdet",
    )
    _require_one_head(mmdet, names)
    strange = [
        name
        for name in leftovers
        if not (name in aliases or name in unused or _is_batch_counter(name))
        and not (name in names and _has_class_rows(name))
    ]
    if strange:
        raise ConversionError(
            f"the leftovers are not of this model: {first_few(strange, _NAMED)}"
        )

    result = Conversion()
    for name in counters:
        result.dropped[name] = _COUNTER
    num_classes = _num_classes(mmdet, mmdet)
    for name, mmdet_name in names.items():
        if name in missing_bias:
            weight = mmdet[mmdet_name.removesuffix("bias") + "weight"]
            result.state_dict[name] = weight.new_zeros(len(weight))
            result.invented[name] = "0; this neck has no bias"
            continue
        tensor = mmdet[mmdet_name]
        if _has_class_rows(name):
            tensor = _with_all_rows(
                name, tensor, num_classes, keep_all_classes, leftovers, result
            )
        result.state_dict[name] = tensor
        result.mapped[name] = mmdet_name
    for alias, first in aliases.items():
        if first in names:
            result.state_dict[alias] = result.state_dict[first]
            result.mapped[alias] = names[first]
    for name, like in unused.items():
        if name not in leftovers:
            result.state_dict[name] = torch.zeros_like(result.state_dict[like])
            result.invented[name] = f"0; {_UNUSED}"
    for name, tensor in leftovers.items():
        if name not in result.state_dict:
            result.state_dict[name] = result.leftovers[name] = tensor
    return _relative(result, source=mmdet_prefix, target=prefix, official=prefix)


def _both_prefixes(prefix: str) -> tuple[str, str]:
    """A module's official prefix and mmdet's, both with a dot unless empty."""
    module = prefix.removesuffix(".")
    official, mmdet = (
        f"{name}." if name else "" for name in (module, counterpart_of(module))
    )
    return official, mmdet


def _below(names: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {name: other for name, other in names.items() if name.startswith(prefix)}


def _relative(
    result: Conversion, source: str, target: str, official: str
) -> Conversion:
    """Leave the prefixes of a module out of the names of a conversion."""
    return Conversion(
        {name.removeprefix(target): t for name, t in result.state_dict.items()},
        {
            name.removeprefix(target): other.removeprefix(source)
            for name, other in result.mapped.items()
        },
        {name.removeprefix(source): why for name, why in result.dropped.items()},
        {name.removeprefix(target): why for name, why in result.invented.items()},
        {name.removeprefix(official): t for name, t in result.leftovers.items()},
    )


def _require_names(
    given: Collection[str],
    expected: Collection[str],
    allowed: Collection[str],
    kind: str,
) -> None:
    """Name what is unknown and what is missing."""
    unknown = [name for name in given if name not in expected and name not in allowed]
    missing = [name for name in expected if name not in given]
    faults = [
        f"{len(names)} {fault} names: {first_few(sorted(names), _NAMED)}"
        for fault, names in (("unknown", unknown), ("missing", missing))
        if names
    ]
    if faults:
        raise ConversionError(f"these are not weights of {kind}; {'; '.join(faults)}")


def _require_one_head(mmdet: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
    """The decoder layers' heads must be equal to be one head."""
    for name, mmdet_name in names.items():
        match = re.match(r"(class_embed|bbox_embed)\.\d+", name)
        if match:
            first = names[name.replace(match[0], f"{match[1]}.0", 1)]
            if not _same(mmdet[mmdet_name], mmdet[first]):
                raise ConversionError(
                    f"{mmdet_name} differs from {first}, but the official code has one "
                    "head for all decoder layers; heads drift apart in training unless "
                    "they are tied"
                )


def _is_batch_counter(name: str) -> bool:
    return name.endswith(f".{BATCH_COUNTER}") and name.startswith("backbone.")


def _has_class_rows(official_name: str) -> bool:
    return re.search(r"class_embed\.|^label_enc\.", official_name) is not None


def _same(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.dtype == other.dtype and torch.equal(one, other))


def _num_classes(state_dict: Mapping[str, Tensor], names: Iterable[str]) -> int:
    """Rows of the first class layer, 0 in a part without one."""
    pattern = (
        r"(class_embed|transformer\.enc_out_class_embed|bbox_head\.cls_branches)\."
    )
    return next((len(state_dict[name]) for name in names if re.match(pattern, name)), 0)


def _class_rows(
    name: str, num_rows: int, num_classes: int, keep_all_classes: bool
) -> list[int]:
    """Which rows of an official class layer are mmdet's classes, in order."""
    # The labels' embedding has one row more, for a label that is never used.
    extra = 1 if name.startswith("label_enc.") else 0
    if not keep_all_classes:
        num_classes = NUM_OFFICIAL_CLASSES
    if num_rows != num_classes + extra:
        raise ConversionError(
            f"{name} has {num_rows} rows, but {num_classes + extra} are expected for "
            f"{num_classes} classes"
            + (
                ""
                if keep_all_classes
                else " (COCO's category ids and 0); classes that are not COCO's can "
                "only be kept all, by keep_all_classes"
            )
        )
    return list(range(num_classes) if keep_all_classes else COCO_CATEGORY_IDS)


def _other_rows(rows: Sequence[int], num_rows: int) -> list[int]:
    return sorted(set(range(num_rows)) - set(rows))


def _with_all_rows(
    name: str,
    tensor: Tensor,
    num_classes: int,
    keep_all_classes: bool,
    leftovers: Mapping[str, Tensor],
    result: Conversion,
) -> Tensor:
    """Put the rows of mmdet's classes among those of the official ones."""
    expected = num_classes if keep_all_classes else len(COCO_CATEGORY_IDS)
    if len(tensor) != expected:
        raise ConversionError(
            f"mmdet's counterpart of {name} has {len(tensor)} rows, but {expected} are "
            "expected"
            + (
                ""
                if keep_all_classes
                else " for COCO's categories; other classes need keep_all_classes"
            )
        )
    total = num_classes if keep_all_classes else NUM_OFFICIAL_CLASSES
    total += 1 if name.startswith("label_enc.") else 0
    rows = _class_rows(name, total, num_classes, keep_all_classes)
    others = _other_rows(rows, total)
    if not others:
        return tensor
    shape = (total, *tensor.shape[1:])
    rest = leftovers.get(name)
    if rest is None:
        value = INVENTED_BIAS if name.endswith(".bias") else 0.0
        rest = tensor.new_full((len(others), *shape[1:]), value)
        result.invented[f"{name}[{_spans(others)}]"] = f"{value:g}; {_NO_CATEGORY}"
    elif rest.shape != (len(others), *shape[1:]):
        raise ConversionError(
            f"the leftovers of {name} have shape {tuple(rest.shape)}, but "
            f"{(len(others), *shape[1:])} fits; was keep_all_classes the same both "
            "ways?"
        )
    else:
        result.leftovers[name] = rest
    whole = tensor.new_empty(shape)
    whole[rows] = tensor
    whole[others] = rest
    return whole


def _spans(rows: Sequence[int]) -> str:
    """Row numbers for people: ``0, 12, 29-30``."""
    spans: list[list[int]] = []
    for row in rows:
        if spans and spans[-1][1] == row - 1:
            spans[-1][1] = row
        else:
            spans.append([row, row])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in spans)
