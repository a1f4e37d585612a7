"""Stop, or leave a batch out, where a loss is not a number."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import zip_longest
from typing import Any

import torch
from mmengine.dist import all_reduce, is_distributed
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn

from ..errors import ConfigError
from ..model_wrappers import unwrapped

ACTIONS = ("stop", "skip")


class InvalidLossError(ConfigError):
    """A loss is NaN or infinite; the message names images and tensor."""


class SkipIteration(Exception):
    """The batch is left out; the training loop goes on with the next."""


@HOOKS.register_module()
class InvalidLossHook(Hook):
    """Looks at images, predictions and losses before they reach the weights.

    Args:
        action (str): ``'stop'`` ends the training, ``'skip'`` leaves the batch out,
            which needs a :class:`~mmdet_lite.engine.resumable_loop.ResumableEpochLoop`.
            Defaults to ``'stop'``.
        max_skipped (int): batches in a row that may be left out; with one more the
            training ends. Defaults to 10.

    Raises:
        ConfigError: the action is another.
    """

    # After the iteration was seeded and logged.
    priority = "LOW"

    def __init__(self, action: str = "stop", max_skipped: int = 10) -> None:
        if action not in ACTIONS:
            raise ConfigError(
                f"action of InvalidLossHook must be one of {', '.join(ACTIONS)}, "
                f"but is {action!r}"
            )
        self.action = action
        self.max_skipped = max_skipped
        self._skipped_in_a_row = 0
        self._runner: Runner | None = None
        self._batch: Any = None
        self._handles: list[Any] = []

    def before_train(self, runner: Runner) -> None:
        """Look at what the model and its head give from now on."""
        self._runner = runner
        head = getattr(unwrapped(runner.model), "bbox_head", None)
        # The head's, since what matches boxes to objects trips over a NaN earlier than
        # there is a loss.
        if isinstance(head, nn.Module):
            self._handles.append(head.register_forward_hook(self._look))
        self._handles.append(runner.model.register_forward_hook(self._look))

    def after_train(self, runner: Runner) -> None:
        """Look no more."""
        while self._handles:
            self._handles.pop().remove()

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Look at images that are not of whole numbers.

        Raises:
            InvalidLossError: one holds a NaN or an infinity, and the action is to stop.
            SkipIteration: the same, and it is to skip.
        """
        self._batch = data_batch
        faulty = _not_finite(
            (name, image)
            for name, image in _images(data_batch)
            if isinstance(image, Tensor)
        )
        self._judge(
            f"the image {', '.join(faulty)} has pixels that are" if faulty else None
        )

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """The batch is through; what follows may be a validation."""
        self._batch = None
        if outputs is not None:
            self._skipped_in_a_row = 0

    def _look(self, module: nn.Module, args: tuple, output: Any) -> None:
        """Forward hook of the model, whose output are losses, and of its head."""
        if self._batch is None:
            return
        assert self._runner is not None
        is_loss = module is self._runner.model
        # What is masked on purpose, as words that a text has not, is minus infinity.
        faulty = _not_finite(_tensors(output), or_minus_infinity=not is_loss)
        if not faulty:
            self._judge(None)
            return
        if is_loss and isinstance(output, Mapping):
            what = f"{', '.join(faulty)} is"
        else:
            what = f"what {type(module).__name__} predicts is"
        self._judge(what)

    def _judge(self, fault: str | None) -> None:
        """Stop or skip where this rank, or another, found something."""
        if is_distributed():
            count = torch.tensor(int(fault is not None))
            all_reduce(count)
            if count and fault is None:
                fault = "on another device a loss, prediction or image is"
        if fault is None:
            return
        runner = self._runner
        assert runner is not None
        message = (
            f"iteration {runner.iter + 1}: {fault} not finite; images: "
            f"{', '.join(name for name, _ in _images(self._batch)) or 'not named'}"
        )
        weights = _not_finite(runner.model.named_parameters())
        if weights:
            message += f"; the weights were so before: {weights[0]}"
        if self.action == "stop":
            raise InvalidLossError(message)
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row > self.max_skipped:
            raise InvalidLossError(
                f"{message}; {self.max_skipped} batches in a row were left out before"
            )
        runner.logger.warning(f"{message}; the batch is left out")
        raise SkipIteration


def _not_finite(
    tensors: Iterable[tuple[str, Tensor]], or_minus_infinity: bool = False
) -> list[str]:
    """Names of the tensors that hold a NaN or an infinity, minus infinity if not so.

    A GPU is waited for once, and not for each.
    """
    # Not so for a NaN.
    fine = partial(torch.lt, other=torch.inf) if or_minus_infinity else torch.isfinite
    checks = [
        (name, fine(tensor).all())
        for name, tensor in tensors
        if tensor.is_floating_point()
    ]
    if not checks:
        return []
    finite = torch.stack([check.to(checks[0][1].device) for _, check in checks])
    return [
        name
        for (name, _), is_fine in zip(checks, finite.tolist(), strict=True)
        if not is_fine
    ]


def _tensors(output: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor of nested containers, with the key of the outermost."""
    if isinstance(output, Tensor):
        yield name, output
    elif isinstance(output, Mapping):
        for key, value in output.items():
            yield from _tensors(value, name or str(key))
    elif isinstance(output, list | tuple):
        for value in output:
            yield from _tensors(value, name)


def _images(batch: Any) -> Iterator[tuple[str, Any]]:
    """Images of a batch, with their paths, or numbers where a config leaves paths out.

    With None for an image where a batch has samples alone.
    """
    if not isinstance(batch, Mapping):
        return
    images, samples = _items(batch.get("inputs")), _items(batch.get("data_samples"))
    for image, sample in zip_longest(images, samples):
        if image is not None or sample is not None:
            known = getattr(sample, "metainfo", {})
            name = known.get("img_path", known.get("img_id", "not named"))
            yield str(name), image


def _items(part: Any) -> list[Any]:
    """Of a batch, stacked or not, those of a semi-supervised one branch by branch."""
    if isinstance(part, Mapping):
        return [item for branch in sorted(part) for item in _items(part[branch])]
    return list(part) if isinstance(part, list | tuple | Tensor) else []
