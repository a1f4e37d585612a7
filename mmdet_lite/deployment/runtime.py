"""Run an exported detector; needs NumPy, OpenCV and the runtime of the file.

This file stands by itself: tools/deployment/infer.py loads it without the package
around it, which would ask for mmdet. Nothing of the package is imported here.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np

KEY = "mmdet_lite"
"""Name of the entry in a file's metadata."""

# OpenCV writes no colours to them, as boxes are drawn in.
_GREY = (".pgm", ".pbm")

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


class DeploymentError(ValueError):
    """A file, an image or the environment does not serve; the message says why."""


class Detector(ABC):
    """An exported detector.

    Attributes:
        description: what the file says of itself: ``model``, ``classes``, ``scale``,
            ``keep_ratio``, ``shape``, ``batch`` and ``version``, as
            :class:`~mmdet_lite.deployment.description.Description` has them.
    """

    description: dict[str, Any]

    def __call__(self, images: np.ndarray) -> Arrays:
        """Detect in images of one size.

        Args:
            images: (batch, 3, height, width), uint8, BGR; black ones join them where
                the file takes more at once.

        Returns:
            tuple: boxes (batch, num, 4) in pixels, (x1, y1, x2, y2); scores (batch,
            num), best first; labels (batch, num).

        Raises:
            DeploymentError: the file takes no images of that size, or not so many.
        """
        shape, batch = self.description["shape"], batch_of(self.description)
        number = len(images)
        if (shape is not None and images.shape[1:] != (3, *shape)) or (
            batch is not None and number > batch
        ):
            size = "any size" if shape is None else f"{shape[0]}×{shape[1]}"
            count = {None: "any number of images", 1: "one image"}
            raise DeploymentError(
                f"the file takes {count.get(batch, f'{batch} images')} of {size} "
                f"(height×width) at once, but got {number} of "
                f"{images.shape[2]}×{images.shape[3]}; export it with --dynamic, or "
                "with --shape and --batch-size for these"
            )
        if batch is not None and number < batch:
            black = np.zeros((batch - number, *images.shape[1:]), images.dtype)
            images = np.concatenate([images, black])
        try:
            boxes, scores, labels = self.run(images)
            return boxes[:number], scores[:number], labels[:number]
        except Exception as error:  # Every runtime has errors of its own.
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise DeploymentError(
                f"{type(self).__name__} failed on {images.shape[0]} images of "
                f"{images.shape[2]}×{images.shape[3]} (height×width): {reason[0]}"
            ) from error

    @abstractmethod
    def run(self, images: np.ndarray) -> Arrays:
        """Run the file; arguments and results as :meth:`__call__`."""


class OnnxRuntimeDetector(Detector):
    """An ONNX file in ONNX Runtime, on the CPU."""

    def __init__(self, path: Path, threads: int | None) -> None:
        runtime = _require("onnxruntime", "onnxruntime")
        options = runtime.SessionOptions()
        if threads is not None:
            options.intra_op_num_threads = threads
        options.log_severity_level = 4  # What fails is raised as well.
        self.session = runtime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        metadata = self.session.get_modelmeta().custom_metadata_map
        self.description = _description(metadata, path)

    def run(self, images: np.ndarray) -> Arrays:
        return tuple(self.session.run(["boxes", "scores", "labels"], {"image": images}))


class OpenVinoDetector(Detector):
    """An ONNX file in OpenVINO, on the CPU, in float32."""

    def __init__(self, path: Path, threads: int | None) -> None:
        openvino = _require("openvino", "openvino")
        core = openvino.Core()
        model = core.read_model(path)
        # Rounding to bfloat16, its choice on some processors, reorders proposals.
        properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
        if threads is not None:
            properties["INFERENCE_NUM_THREADS"] = threads
        self.compiled = core.compile_model(model, "CPU", properties)
        metadata = {}
        if model.has_rt_info(["framework", KEY]):
            metadata[KEY] = model.get_rt_info(["framework", KEY]).value
        self.description = _description(metadata, path)

    def run(self, images: np.ndarray) -> Arrays:
        results = self.compiled([images])
        return results["boxes"], results["scores"], results["labels"]


class TorchDetector(Detector):
    """A package of PyTorch, whose operators are in a library beside it."""

    def __init__(self, path: Path, threads: int | None) -> None:
        torch = _require("torch", "torch")
        if threads is not None:
            torch.set_num_threads(threads)
        if not hasattr(torch.ops.mmdet_lite, "key_aware_attention_cpu"):
            library = operators_beside(path)
            if not library.is_file():
                raise DeploymentError(
                    f"{path} needs the library that was written with it: {library}"
                )
            try:
                torch.ops.load_library(str(library))
            except OSError as error:
                raise DeploymentError(
                    f"{library} does not fit PyTorch {torch.__version__}: {error}"
                ) from error
        self.torch = torch
        self.package = torch._inductor.aoti_load_package(str(path))
        self.description = _description(self.package.get_metadata(), path)

    def run(self, images: np.ndarray) -> Arrays:
        with self.torch.no_grad():
            results = self.package(self.torch.from_numpy(images))
        return tuple(result.numpy() for result in results)


_DETECTORS: dict[tuple[str, str], Callable[[Path, int | None], Detector]] = {
    (".onnx", "onnxruntime"): OnnxRuntimeDetector,
    (".onnx", "openvino"): OpenVinoDetector,
    (".pt2", "torch"): TorchDetector,
}
RUNTIMES = tuple(name for _, name in _DETECTORS)
SUFFIXES = tuple(dict.fromkeys(suffix for suffix, _ in _DETECTORS))
"""How the names of exported files end."""


def load_detector(
    path: str | Path, runtime: str | None = None, threads: int | None = None
) -> Detector:
    """Load an exported file.

    Args:
        path: ``.onnx`` or ``.pt2``.
        runtime: one of :data:`RUNTIMES`; None for ONNX Runtime or PyTorch.
        threads: of the processor, which are all of the process in PyTorch; None for
            the runtime's choice.

    Raises:
        DeploymentError: there is no such file, it is none of the export, or its
            runtime or library is missing.
    """
    path = Path(path)
    fitting = runtimes_of(path)
    if not fitting:
        ends = " or ".join(SUFFIXES)
        raise DeploymentError(f"an exported file ends in {ends}, but not {path}")
    if not path.is_file():
        raise DeploymentError(f"there is no file {path}")
    if runtime is not None and runtime not in fitting:
        raise DeploymentError(
            f"{runtime} does not run {path.suffix} files: {', '.join(fitting)}"
        )
    load = _DETECTORS[path.suffix, runtime or fitting[0]]
    try:
        return load(path, threads)
    except DeploymentError:
        raise
    except Exception as error:  # Of files of other kinds almost anything is raised.
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DeploymentError(f"{path} cannot be loaded: {reason[0]}") from error


def runtimes_of(path: str | Path) -> list[str]:
    """Those of :data:`RUNTIMES` that run a file, by the end of its name."""
    return [name for suffix, name in _DETECTORS if suffix == Path(path).suffix]


def operators_beside(path: Path) -> Path:
    """Where the library of a package's operators lies."""
    return path.with_suffix(".ops.so")


def batch_of(description: dict[str, Any]) -> int | None:
    """How many images a file takes; early ones of one size do not say it."""
    return description.get("batch", 1 if description["shape"] else None)


def find_images(names: Sequence[str | Path]) -> list[Path]:
    """Files, and those in folders that OpenCV may read, sorted.

    Raises:
        DeploymentError: a name is of nothing, or a folder has no image.
    """
    images: list[Path] = []
    for name in map(Path, names):
        if name.is_dir():
            found = sorted(
                path for path in name.iterdir() if cv2.haveImageReader(str(path))
            )
            if not found:
                raise DeploymentError(f"the folder {name} has no image")
            images += found
        elif name.is_file():
            images.append(name)
        else:
            raise DeploymentError(f"there is no image or folder {name}")
    return images


def picture_paths(images: Sequence[Path], out: Path) -> list[Path]:
    """Where the drawn pictures go, one for each image.

    Args:
        images: paths, of which several may have one name; the picture of one whose
            ending OpenCV does not write in colour is a PNG.
        out: folder of the pictures.

    Raises:
        DeploymentError: a picture would lie where an image is.
    """
    pictures: list[Path] = []
    for image in images:
        suffix = image.suffix.lower()
        drawn = suffix not in ("", *_GREY) and cv2.haveImageWriter(image.name)
        ending = image.suffix if drawn else ".png"
        picture, number = out / f"{image.stem}{ending}", 1
        while picture in pictures:
            number += 1
            picture = out / f"{image.stem}_{number}{ending}"
        pictures.append(picture)
    own = {image.resolve() for image in images}
    for picture in pictures:
        if picture.resolve() in own:
            raise DeploymentError(
                f"the picture of {picture} would replace it: take another folder for "
                "--out"
            )
    return pictures


def read_image(path: str | Path) -> np.ndarray:
    """Read an image as mmdet does: (height, width, 3), uint8, BGR.

    Raises:
        DeploymentError: OpenCV cannot read it.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise DeploymentError(f"{path} is not readable as an image")
    return image


def write_image(path: Path, image: np.ndarray) -> None:
    """Write an image, (height, width, 3), uint8, BGR, in the format of the ending.

    Raises:
        DeploymentError: OpenCV does not write it, or it does not get to the disk.
    """
    try:
        written, content = cv2.imencode(path.suffix, image)
    except cv2.error:
        written = False
    if not written:
        raise DeploymentError(
            f"{path} cannot be written: OpenCV has no such format for this image"
        )
    try:
        # OpenCV's own writing does not notice a full disk in every format.
        path.write_bytes(content.tobytes())
    except OSError as error:
        reason = error.strerror or error
        raise DeploymentError(f"{path} cannot be written: {reason}") from error


def resize(image: np.ndarray, description: dict[str, Any]) -> np.ndarray:
    """Resize an image as the test pipeline of the file's config does.

    Args:
        image: (height, width, 3).
        description: of the detector.
    """
    if description["scale"] is None:
        return image
    height, width = image.shape[:2]
    long, short = max(description["scale"]), min(description["scale"])
    if description["keep_ratio"]:
        factor = min(long / max(height, width), short / min(height, width))
        size = int(width * factor + 0.5), int(height * factor + 0.5)
    else:
        size = tuple(description["scale"])
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def to_batch(images: Sequence[np.ndarray]) -> np.ndarray:
    """Images (height, width, 3) of one size -> (batch, 3, height, width)."""
    return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))


def detect(
    detector: Detector, image: np.ndarray, score_threshold: float
) -> list[dict[str, Any]]:
    """Detect in an image of any size.

    Args:
        detector: the detector.
        image: (height, width, 3), uint8, BGR.
        score_threshold: objects of lower scores are left out.

    Returns:
        list: for each object ``label``, its ``name`` where the file knows it, ``score``
        and ``box`` [x1, y1, x2, y2] in pixels of the image, best first.

    Raises:
        DeploymentError: the file takes no image of that size.
    """
    resized = resize(image, detector.description)
    boxes, scores, labels = (array[0] for array in detector(to_batch([resized])))
    width_factor = image.shape[1] / resized.shape[1]
    height_factor = image.shape[0] / resized.shape[0]
    factors = np.array([width_factor, height_factor] * 2)
    classes = detector.description["classes"]
    return [
        {
            "label": int(label),
            **({"name": classes[label]} if label < len(classes) else {}),
            "score": float(score),
            "box": [round(float(number), 2) for number in box * factors],
        }
        for box, score, label in zip(boxes, scores, labels, strict=True)
        if score > 0 and score >= score_threshold
    ]


def draw(image: np.ndarray, objects: Sequence[dict[str, Any]]) -> np.ndarray:
    """Draw objects into a copy of their image, a colour for each class."""
    picture = image.copy()
    for found in objects:
        hue = np.array([[[found["label"] * 47 % 180, 230, 230]]], dtype=np.uint8)
        color = tuple(map(int, cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0]))
        x1, y1, x2, y2 = map(round, found["box"])
        cv2.rectangle(picture, (x1, y1), (x2, y2), color, 2)
        text = f"{found.get('name', found['label'])} {found['score']:.2f}"
        cv2.putText(
            picture, text, (x1, max(y1 - 4, 10)), cv2.FONT_HERSHEY_SIMPLEX, 0.45, color
        )
    return picture


def _description(metadata: dict[str, str], path: Path) -> dict[str, Any]:
    if KEY not in metadata:
        raise DeploymentError(f"{path} was not written by tools/deployment/export.py")
    return json.loads(metadata[KEY])


def _require(name: str, package: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise DeploymentError(
            f"running the file needs {package}: pip install {package}"
        ) from error
