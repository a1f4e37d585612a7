"""Point a config at data of one's own: files and classes."""

from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..datasets.coco_file import read_annotation_file
from ..datasets.coco_tables import category_names, table_problems
from ..datasets.conversion import find_labels
from ..datasets.data_sources import DataSource
from ..datasets.image_problems import ImageReader
from ..datasets.problems import in_one_line, listed
from ..errors import ConfigError
from .coco_parts import coco_dataset, evaluate_by, require_loadable, set_num_classes

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
    classes of the model's heads and asks for AP by class. Validation and test set are
    one.

    Args:
        cfg: a whole config, whose data sets are COCO's; it is changed.
        data_root: folder of the data set.
        train_file: annotation file of the training set, relative to the folder or
            absolute; None to look for it.
        val_file: the same of the validation set; without one the test set serves.

    Raises:
        ConfigError: a file or the images are not found, the files are no annotation
            files of the same classes or lack what the config loads, or the config
            cannot be pointed at COCO's format.
    """
    root = Path(data_root)
    datasets = {split: coco_dataset(cfg, split) for split in ("train", "val")}
    sources = own_data_sources(root, train_file, val_file)
    classes: dict[str, tuple[str, ...]] = {}
    for source in sources:
        content = read_annotation_file(source.ann_file, keep=True)
        problems = table_problems(content)
        if problems:
            raise ConfigError(in_one_line(source.ann_file, problems))
        classes[source.split] = category_names(content)
        folder = Path(source.reader.folder if source.reader else root)
        if not any((folder / name).is_file() for name in _image_names(content)):
            raise ConfigError(_no_images(root, source, content))
        dataset = datasets[source.split]
        require_loadable(dataset, source.ann_file, content)
        inside = _relative(folder, root)
        dataset.update(
            data_root=str(root),
            ann_file=_relative(Path(source.ann_file), root),
            data_prefix={"img": "" if inside == "." else f"{inside}/"},
            # Colours are the visualizer's, COCO's own are those of 80 classes.
            metainfo={"classes": classes[source.split], "palette": None},
        )
    train, val = sources
    if classes["train"] != classes["val"]:
        raise ConfigError(
            f"{train.ann_file} and {val.ann_file} have different categories, or the "
            f"same in another order: {listed(classes['train'])} and "
            f"{listed(classes['val'])}"
        )
    cfg.test_dataloader = cfg.val_dataloader
    cfg.test_cfg = cfg.get("test_cfg") or {"type": "TestLoop"}
    evaluate_by(cfg, val.ann_file)
    set_num_classes(cfg, len(classes["train"]))


def own_data_sources(
    data_root: str | Path, train_file: str | None = None, val_file: str | None = None
) -> list[DataSource]:
    """Find annotation files and images of a data set, whatever they hold.

    Arguments as :func:`use_own_data`.

    Returns:
        list: the training and the validation set, with the classes of the first.

    Raises:
        ConfigError: a file is not found, or is no JSON.
    """
    root = Path(data_root)
    if not root.is_dir():
        raise ConfigError(f"--data-root {root} is no folder")
    sources = []
    classes: tuple[str, ...] | None = None
    for split, given in (("train", train_file), ("val", val_file)):
        file = _annotation_file(root, split, given)
        content = read_annotation_file(file, keep=True)
        if split == "train" and not table_problems(content):
            classes = category_names(content)
        reader = ImageReader(str(_image_folder(root, file, content)))
        sources.append(DataSource(split, str(file), classes, reader))
    return sources


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
    labels = find_labels(root)
    if labels is not None:
        raise ConfigError(
            f"{root} is in {labels.format}'s layout, not in COCO's format: python "
            f"tools/dataset_converters/to_coco.py {root} --out {root}_coco converts it"
        )
    raise ConfigError(
        f"no annotation file of the {split} set in {root}: looked for "
        f"{', '.join(candidates)}; name it by --{split}-file"
    )


def _image_folder(root: Path, file: Path, content: Any) -> Path:
    """The folder that holds the first image that is in any, else the data set's."""
    for name in _image_names(content):
        for folder in _image_folders(root, file):
            if (folder / name).is_file():
                return folder
    return root


def _image_names(content: Any, limit: int = 100) -> list[str]:
    """File names of the first images, as far as there are any."""
    rows = content.get("images") if isinstance(content, dict) else None
    return [
        row["file_name"]
        for row in (rows[:limit] if isinstance(rows, list) else ())
        if isinstance(row, dict) and isinstance(row.get("file_name"), str)
    ]


def _image_folders(root: Path, file: Path) -> list[Path]:
    split = file.stem.removeprefix("instances_").removesuffix("2017")
    split = file.parent.name if split.startswith("_") else split
    return [
        base / pattern.format(split=split)
        for base in dict.fromkeys((root, file.parent))
        for pattern in _IMAGES
    ]


def _no_images(root: Path, source: DataSource, content: Any) -> str:
    names = _image_names(content)
    if not names:
        return f"{source.ann_file} lists no image with a file_name"
    folders = ", ".join(map(str, _image_folders(root, Path(source.ann_file))))
    return f"{source.ann_file} lists {names[0]}, which is in none of {folders}"


def _relative(path: Path, root: Path) -> str:
    """A path in a folder relative to it, another as it is from anywhere."""
    path, root = path.absolute(), root.absolute()
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()
