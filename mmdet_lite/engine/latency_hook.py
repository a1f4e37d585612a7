"""How long a test's predictions take, beside how good they are."""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..runtime.aside import pausing
from ..runtime.memory import read_peak_memory, reset_peak_memory, synchronize


@HOOKS.register_module()
class LatencyHook(Hook):
    """Times every batch of a test, and adds what it took to the test's metrics.

    What counts is the model's ``test_step``: from resized images to boxes, with padding
    and normalisation, without reading files, drawing and evaluation, nor what the model
    is tried on to say what memory a large image takes. The metrics are
    ``latency/median_ms`` and ``latency/p90_ms`` per image (a batch's time over its
    images), ``latency/images_per_second`` and ``latency/peak_memory_mb``, the most that
    the process held during the test, or what PyTorch allocated on a GPU; a line at the
    end of the test says them with threads and shapes.

    Args:
        warmup: first batches that do not count.
    """

    # Before the hook that hands the metrics to the log.
    priority = "HIGHEST"

    def __init__(self, warmup: int = 3) -> None:
        self.warmup = warmup
        self._batches: list[tuple[float, int, tuple[int, int] | None]] = []
        self._metrics: dict[str, float] = {}
        # Seconds of a batch that do not count, and the peak before them.
        self._aside = 0.0
        self._earlier_peak: int | None = None

    def before_test_epoch(self, runner: Runner) -> None:
        """Start the clock around the model's ``test_step``."""
        self._batches, self._metrics, self._earlier_peak = [], {}, None
        # An exported file has no parameters, and runs on the processor.
        parameter = next(runner.model.parameters(), torch.empty(0))
        self._device = parameter.device
        step = runner.model.test_step

        def timed_step(data: Any) -> Any:
            self._aside = 0.0
            synchronize(self._device)
            start = time.perf_counter()
            with pausing(self._pause):
                outputs = step(data)
            synchronize(self._device)
            seconds = time.perf_counter() - start - self._aside
            shape = outputs[0].get("batch_input_shape")
            self._batches.append((seconds, len(outputs), shape and tuple(shape)))
            return outputs

        runner.model.test_step = timed_step
        reset_peak_memory(self._device)

    def after_test_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Stop the clock, and add to the metrics."""
        del runner.model.test_step  # What is left is the class's own.
        counted = self._batches[self.warmup :]
        if not counted:
            return
        each = sorted(
            1e3 * seconds / images
            for seconds, images, _ in counted
            for _ in range(images)
        )
        self._metrics = {
            "latency/median_ms": statistics.median(each),
            "latency/p90_ms": each[int(0.9 * (len(each) - 1))],
            "latency/images_per_second": sum(images for _, images, _ in counted)
            / sum(seconds for seconds, _, _ in counted),
        }
        peak = self._peak_so_far()
        if peak is not None:
            self._metrics["latency/peak_memory_mb"] = peak / 1e6
        if metrics is not None:
            metrics.update(self._metrics)

    def after_test(self, runner: Runner) -> None:
        """Say it in a line, after the metrics."""
        counted = self._batches[self.warmup :]
        if not counted:
            runner.logger.info(
                f"latency: not measured, {len(self._batches)} batches are no more than "
                f"the {self.warmup} that warm up"
            )
            return
        numbers = {name.split("/")[1]: n for name, n in self._metrics.items()}
        peak = numbers.get("peak_memory_mb")
        memory = "not told" if peak is None else f"{peak:,.0f} MB"
        where = (
            torch.cuda.get_device_name(self._device)
            if self._device.type == "cuda"
            else f"cpu, {torch.get_num_threads()} threads"
        )
        if get_world_size() > 1:
            where += f", the first of {get_world_size()} processes"
        images = sum(images for _, images, _ in counted)
        runner.logger.info(
            f"latency per image: median {numbers['median_ms']:.1f} ms, 90 % within "
            f"{numbers['p90_ms']:.1f} ms; throughput "
            f"{numbers['images_per_second']:.2f} images/s; peak memory {memory} "
            f"({where}; {images} images in batches of {counted[0][1]}, "
            f"{self._shapes()}; from resized image to boxes, "
            f"{self.warmup} batches of warm-up not counted)"
        )

    @contextmanager
    def _pause(self) -> Iterator[None]:
        """Stop the clock, and forget the memory that is taken meanwhile."""
        synchronize(self._device)
        start = time.perf_counter()
        self._earlier_peak = self._peak_so_far()
        yield
        synchronize(self._device)
        reset_peak_memory(self._device)
        self._aside += time.perf_counter() - start

    def _peak_so_far(self) -> int | None:
        peak = read_peak_memory(self._device)
        return None if peak is None else max(peak, self._earlier_peak or 0)

    def _shapes(self) -> str:
        shapes = {shape for *_, shape in self._batches[self.warmup :] if shape}
        by_area = sorted(shapes, key=lambda shape: shape[0] * shape[1])
        ends = ["×".join(map(str, shape)) for shape in (*by_area[:1], *by_area[-1:])]
        return f"padded to {' up to '.join(dict.fromkeys(ends)) or 'shapes not told'}"
