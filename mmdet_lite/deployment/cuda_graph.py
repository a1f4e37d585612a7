"""A detector's kernels launched at once: on a GPU Python is slower than they are."""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor

from ..arguments import require_count
from ..errors import ConfigError
from .module import DetectorModule, require_lite

# Before a capture: kernels compile, libraries choose theirs, backends are tried.
_WARM_UP_RUNS = 3


@dataclass(frozen=True)
class _Captured:
    """A pass over images of one shape.

    Attributes:
        graph: what is replayed.
        image: where it reads.
        detections: where it writes.
    """

    graph: torch.cuda.CUDAGraph
    image: Tensor
    detections: tuple[Tensor, Tensor, Tensor]


class CUDAGraphDetector:
    """Replays a detector as a CUDA graph, one for each shape of images.

    A large GPU runs a detector's thousands of kernels faster than Python launches them.
    A graph launches them in one call. The first images of a shape take as long as some
    runs without it, and its memory stays for as long as the graph does. Results are
    those of the module.

    Args:
        module: of a Lite detector, on a GPU. Weights that are loaded into it later
            count; moved to other memory they do not.
        dtype: None for float32, ``torch.float16`` or ``torch.bfloat16``: what autocast
            computes in. Call :func:`~mmdet_lite.runtime.optimize_for_inference` with it
            on the model first, so that boxes and scores stay float32.
        max_graphs: shapes whose graphs are kept; of more the one that was not used for
            longest is dropped.

    Raises:
        ConfigError: the module is not on a GPU, or of another detector; or
            ``max_graphs`` is not a positive integer.
    """

    def __init__(
        self,
        module: DetectorModule,
        dtype: torch.dtype | None = None,
        max_graphs: int = 8,
    ) -> None:
        require_count("max_graphs", max_graphs)
        require_lite(module.model, "a CUDA graph")
        device = module.mean.device
        if device.type != "cuda":
            raise ConfigError(
                f"CUDA graphs need a GPU, but the detector is on {device}: call the "
                "module itself, or move it with .to('cuda')"
            )
        self.module, self.device, self.dtype = module, device, dtype
        self.max_graphs = max_graphs
        self._captured: OrderedDict[torch.Size, _Captured] = OrderedDict()

    @torch.no_grad()
    def __call__(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Detect.

        Args:
            image: (batch, 3, height, width), uint8, BGR as OpenCV reads files; on any
                device.

        Returns:
            tuple: boxes, scores and labels on the GPU, as
            :meth:`~mmdet_lite.deployment.module.DetectorModule.forward` returns them.
        """
        with torch.cuda.device(self.device):
            captured = self._captured.get(image.shape)
            if captured is None:
                captured = self._capture(image.to(self.device))
                self._captured[image.shape] = captured
                if len(self._captured) > self.max_graphs:
                    self._captured.popitem(last=False)
            self._captured.move_to_end(image.shape)
            captured.image.copy_(image)
            captured.graph.replay()
            boxes, scores, labels = (each.clone() for each in captured.detections)
            # NMS asks how many steps it takes, which a graph cannot wait for.
            scores = self.module.remove_duplicates(boxes, scores, labels)
        return boxes, scores, labels

    def _capture(self, image: Tensor) -> _Captured:
        # A buffer made in inference mode could not be written to outside of it.
        with torch.inference_mode(False):
            own_image = torch.empty_like(image)
        own_image.copy_(image)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP_RUNS):
                self._run(own_image)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # PyTorch's own stream for captures is on the GPU of the first one.
        with torch.cuda.graph(graph, stream=stream):
            detections = self._run(own_image)
        return _Captured(graph, own_image, detections)

    def _run(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.dtype is None:
            return self.module.detect(image)
        # What autocast keeps between calls would lie in the memory of a graph.
        with torch.autocast("cuda", self.dtype, cache_enabled=False):
            return self.module.detect(image)
