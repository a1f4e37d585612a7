"""An exported file where mmengine's runner expects a model, to be tested as one."""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from torch import Tensor

from ..datasets.data_sources import data_sources
from ..engine import without_averaging
from ..errors import ConfigError
from .runtime import load_detector


@MODELS.register_module()
class ExportedDetector(BaseModel):
    """Predicts with a file of ``tools/deployment/export.py``, on the CPU.

    Images go into the file one by one, so that none is padded; it uses as many threads
    as PyTorch.

    Args:
        file: path of the file.
        runtime: of :data:`~mmdet_lite.deployment.runtime.RUNTIMES`; None for the
            file's first.
        classes: what the labels have to mean; None for whatever the file says.

    Raises:
        DeploymentError: the file cannot be loaded.
        ConfigError: its classes are others.
    """

    def __init__(
        self,
        file: str,
        runtime: str | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.detector = load_detector(file, runtime, torch.get_num_threads())
        own = self.detector.description["classes"]
        if classes is not None and own and list(own) != list(classes):
            raise ConfigError(
                f"{file} detects {', '.join(own)}, but the test set has "
                f"{', '.join(classes)}"
            )

    def forward(
        self,
        inputs: Sequence[Tensor],
        data_samples: Sequence[DetDataSample],
        mode: str = "predict",
    ) -> list[DetDataSample]:
        """Detect.

        Args:
            inputs: images of the test pipeline, (3, height, width), uint8, BGR.
            data_samples: of the images; they get ``pred_instances``, whose boxes are
                those of the images before resizing.
            mode: ``'predict'``; there is no other.

        Raises:
            DeploymentError: the file takes no image of that size.
            ConfigError: the pipeline gives other pixels than uint8.
        """
        return [
            self._predict(image.cpu(), sample)
            for image, sample in zip(inputs, data_samples, strict=True)
        ]

    def _predict(self, image: Tensor, sample: DetDataSample) -> DetDataSample:
        if image.dtype != torch.uint8:
            raise ConfigError(
                "an exported file takes uint8 pixels, but those of the test pipeline "
                f"are {str(image.dtype).removeprefix('torch.')}"
            )
        arrays = self.detector(image[None].numpy())
        boxes, scores, labels = (torch.from_numpy(array[0]) for array in arrays)
        kept = scores > 0  # NMS inside the file sets the others to 0.
        factors = boxes.new_tensor(sample.get("scale_factor", (1.0, 1.0))).repeat(2)
        sample.pred_instances = InstanceData(
            bboxes=boxes[kept] / factors, scores=scores[kept], labels=labels[kept]
        )
        sample.set_metainfo({"batch_input_shape": tuple(image.shape[1:])})
        return sample


def use_exported_file(cfg: Config, file: str, runtime: str | None = None) -> None:
    """Put an exported file in the place of a config's model.

    Args:
        cfg: a whole config, whose test set stays; it is changed.
        file: path of the file.
        runtime: as in :class:`ExportedDetector`.

    Raises:
        ConfigError: the arguments of the test set do not fit it.
    """
    model: dict[str, Any] = {
        "type": ExportedDetector.__name__,
        "file": file,
        "runtime": runtime,
    }
    for source in data_sources(cfg, ("test",)):
        model["classes"] = source.classes
    cfg.model = ConfigDict(model)
    cfg.load_from = None
    without_averaging(cfg)
