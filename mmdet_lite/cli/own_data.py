"""Point a config at data of one's own: files, classes, image size, schedule."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from ..errors import ConfigError

# Where annotation files of a split usually lie, the first that exists is taken.
_ANNOTATIONS = (
    "{split}.json",
    "instances_{split}.json",
    "annotations/{split}.json",
    "annotations/instances_{split}.json",
    "annotations/instances_{split}2017.json",
    "{split}/_annotations.coco.json",
)
_SPLIT_NAMES = {"train": ("train",), "val": ("val", "valid", "test")}

# Where their images lie, relative to the data set or to the annotation file.
_IMAGES = ("", "images", "{split}", "images/{split}", "{split}2017", "{split}/images")


def use_own_data(
    cfg: Config,
    data_root: str | Path,
    train_file: str | None = None,
    val_file: str | None = None,
) -> None:
    """Train and evaluate on a data set in COCO's format.

    Finds the annotation files and the images, reads the classes, sets the number of
    classes of the model and asks for AP by class. Validation and test set are one.

    Args:
        cfg: a whole config, whose data sets are COCO's; it is changed.
        data_root: folder of the data set.
        train_file: annotation file of the training set, relative to the folder; None
            to look for it.
        val_file: the same of the validation set; without one the test set serves.

    Raises:
        ConfigError: a file or the images are not found, or the files are no annotation
            files of the same classes.
    """
    root = Path(data_root)
    if not root.is_dir():
        raise ConfigError(f"--data-root {root} is no folder")
    files = {
        "train": _annotation_file(root, "train", train_file),
        "val": _annotation_file(root, "val", val_file),
    }
    contents = {split: _read(file) for split, file in files.items()}
    classes = {split: _classes_of(files[split], contents[split]) for split in files}
    if classes["train"] != classes["val"]:
        raise ConfigError(
            f"{files['train']} and {files['val']} have different categories: "
            f"{', '.join(classes['train'])} and {', '.join(classes['val'])}"
        )
    for split, file in files.items():
        dataset = _innermost(cfg[f"{split}_dataloader"].dataset)
        dataset.update(
            data_root=str(root),
            ann_file=str(file.relative_to(root)),
            data_prefix={"img": _image_folder(root, file, contents[split])},
            metainfo={"classes": classes[split]},
        )
    cfg.test_dataloader = cfg.val_dataloader
    cfg.val_evaluator.update(ann_file=str(files["val"]), classwise=True)
    cfg.test_evaluator = cfg.val_evaluator
    heads = cfg.model.bbox_head
    for head in heads if isinstance(heads, list) else [heads]:
        head.num_classes = len(classes["train"])


def set_image_size(cfg: Config, size: int) -> None:
    """Let no image be longer than so many pixels, in training and testing.

    Every size of the pipelines changes in proportion to that of the test images, so
    that a multi-scale training stays one.

    Args:
        cfg: a whole config; it is changed.
        size: pixels of the longer side.

    Raises:
        ConfigError: the size is too small, or no step of the test pipeline resizes.
    """
    if size < 32:
        raise ConfigError(f"--image-size must be at least 32 pixels, but got {size}")
    pipeline = _innermost(cfg.val_dataloader.dataset).pipeline
    scales = [step.scale for step in _steps(pipeline) if "scale" in step]
    if not scales:
        raise ConfigError("no step of the test pipeline has a scale to change")
    factor = size / max(scales[0])
    for split in ("train", "val", "test"):
        for step in _steps(_innermost(cfg[f"{split}_dataloader"].dataset).pipeline):
            if "scale" in step:
                # Square: the longer side of any image, however it lies, is the size.
                step.scale = (size, size)
            for name in ("scales", "crop_size"):
                if name in step:
                    step[name] = _scaled(step[name], factor)


def set_epochs(cfg: Config, epochs: int) -> None:
    """Train for so many epochs, the learning rate's curve in proportion.

    Args:
        cfg: a whole config with an epoch-based training; it is changed.
        epochs: how many.

    Raises:
        ConfigError: the number is not positive, or the training counts iterations.
    """
    if epochs < 1:
        raise ConfigError(f"--epochs must be at least 1, but got {epochs}")
    before = cfg.train_cfg.get("max_epochs")
    if before is None:
        raise ConfigError("--epochs needs a config that trains by epochs")
    cfg.train_cfg.max_epochs = epochs
    schedulers = cfg.get("param_scheduler") or []
    for scheduler in [schedulers] if isinstance(schedulers, dict) else schedulers:
        if not scheduler.get("by_epoch", True):
            continue  # The warm-up counts iterations.
        for name in ("begin", "end", "T_max"):
            if name in scheduler:
                scheduler[name] = round(scheduler[name] * epochs / before)
        if "milestones" in scheduler:
            scheduler["milestones"] = [
                max(1, round(milestone * epochs / before))
                for milestone in scheduler["milestones"]
            ]


def _annotation_file(root: Path, split: str, given: str | None) -> Path:
    if given is not None:
        if not (root / given).is_file():
            raise ConfigError(f"there is no annotation file {root / given}")
        return root / given
    candidates = [
        pattern.format(split=name)
        for name in _SPLIT_NAMES[split]
        for pattern in _ANNOTATIONS
    ]
    for candidate in candidates:
        if (root / candidate).is_file():
            return root / candidate
    raise ConfigError(
        f"no annotation file of the {split} set in {root}: looked for "
        f"{', '.join(candidates)}; name it by --{split}-file"
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except ValueError as error:
        raise ConfigError(f"{file} is not readable as JSON: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise ConfigError(f"{file} is not a COCO annotation file")
    return content


def _classes_of(file: Path, content: dict[str, Any]) -> tuple[str, ...]:
    """Names in the order of the file, which is the order of mmdet's labels."""
    try:
        classes = tuple(category["name"] for category in content["categories"])
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{file} has no list of named categories") from error
    if not classes:
        raise ConfigError(f"{file} has no categories")
    return classes


def _image_folder(root: Path, file: Path, content: dict[str, Any]) -> str:
    """Folder of the images relative to the data set, with a slash at its end."""
    names = [row.get("file_name") for row in content["images"][:1]]
    if not names or not isinstance(names[0], str):
        raise ConfigError(f"{file} lists no image with a file_name")
    split = file.stem.removeprefix("instances_").removesuffix("2017")
    split = file.parent.name if split.startswith("_") else split
    for base in dict.fromkeys((root, file.parent)):
        for pattern in _IMAGES:
            folder = base / pattern.format(split=split)
            if (folder / names[0]).is_file():
                inside = folder.relative_to(root).as_posix()
                return "" if inside == "." else f"{inside}/"
    raise ConfigError(
        f"{file} lists {names[0]}, which is in none of "
        f"{', '.join(str(root / p.format(split=split)) for p in _IMAGES)}"
    )


def _innermost(dataset: ConfigDict) -> ConfigDict:
    """The data set inside of its wrappers."""
    while "dataset" in dataset:
        dataset = dataset.dataset
    return dataset


def _steps(pipeline: Any) -> Iterator[ConfigDict]:
    """Every step of a pipeline, those inside of a choice too."""
    if isinstance(pipeline, dict):
        yield pipeline
        yield from _steps(pipeline.get("transforms", []))
    else:
        for step in pipeline:
            yield from _steps(step)


def _scaled(sizes: Any, factor: float) -> Any:
    """The same numbers, pairs or lists of them, times a factor."""
    if isinstance(sizes, list | tuple):
        return type(sizes)(_scaled(size, factor) for size in sizes)
    return max(1, round(sizes * factor))
