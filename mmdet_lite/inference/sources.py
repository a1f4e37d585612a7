"""Which pictures and videos the arguments of a command mean."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mmdet.apis.det_inferencer import IMG_EXTENSIONS

from ..datasets.local_files import files_below
from ..errors import ConfigError

VIDEO_EXTENSIONS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
"""Ends of the names of videos, lower case."""

_FOLDERS = ("pictures", "videos")


@dataclass(frozen=True)
class Source:
    """A picture or a video to detect in.

    Attributes:
        path: the file.
        target: where what is drawn of it goes, relative to the folder of results; no
            two sources share one.
        is_video: whether it is a video.
    """

    path: Path
    target: Path
    is_video: bool


def find_sources(inputs: Iterable[str | Path], out: str | Path) -> list[Source]:
    """List the pictures and videos of files and folders, these with their subfolders.

    What kind a file is tells the end of its name, in upper or lower case; others that
    lie in a folder are passed over, and so are the results of an earlier run, in
    ``pictures/`` and ``videos/`` of the folder for the results.

    Args:
        inputs: paths of files and folders.
        out: folder for the results.

    Returns:
        list[Source]: files in the order given, those of a folder by name.

    Raises:
        ConfigError: a path does not exist, a file has another kind of name, a folder
            holds no picture and no video, or what is drawn of a file would replace it.
    """
    sources: list[Source] = []
    taken: set[Path] = set()
    for given in map(Path, inputs):
        if given.is_dir():
            files = _files_of(given, Path(out))
            names = [file.relative_to(given) for file in files]
            if not files:
                raise ConfigError(
                    f"the folder {given} holds no picture and no video, apart from "
                    f"what {out} has of an earlier run"
                )
        elif given.is_file():
            if _kind(given) is None:
                known = ", ".join((*IMG_EXTENSIONS, *VIDEO_EXTENSIONS))
                raise ConfigError(
                    f"{given} is neither a picture nor a video by its name, which "
                    f"should end in one of {known}"
                )
            files, names = [given], [Path(given.name)]
        else:
            raise ConfigError(f"there is no file or folder {given}")
        for file, name in zip(files, names, strict=True):
            is_video = _kind(file) == "video"
            target = next(
                path for path in _targets(name, is_video) if path not in taken
            )
            taken.add(target)
            sources.append(Source(file, target, is_video))
    _refuse_replacing(sources, Path(out))
    return sources


def _refuse_replacing(sources: list[Source], out: Path) -> None:
    own = {source.path.resolve(): source.path for source in sources}
    for source in sources:
        replaced = own.get((out / source.target).resolve())
        if replaced is not None:
            which = "it" if replaced == source.path else str(replaced)
            raise ConfigError(
                f"what is drawn of {source.path} would replace {which}: name another "
                "--out"
            )


def _kind(path: Path) -> str | None:
    suffix = path.suffix.lower()
    if suffix in VIDEO_EXTENSIONS:
        return "video"
    return "picture" if suffix in IMG_EXTENSIONS else None


def _files_of(folder: Path, out: Path) -> list[Path]:
    results = [(out / name).resolve() for name in _FOLDERS]
    return [
        file
        for file in files_below(folder)
        if _kind(file)
        and not file.name.startswith(".")
        and not any(file.resolve().is_relative_to(result) for result in results)
    ]


def _targets(name: Path, is_video: bool) -> Iterator[Path]:
    """Places for what is drawn, the second and later ones for names that clash."""
    # OpenCV's own encoder writes MPEG-4; grey maps cannot hold the boxes' colours.
    suffix = name.suffix
    if is_video:
        suffix = ".mp4"
    elif suffix.lower() == ".pgm":
        suffix = ".png"
    folder = Path(_FOLDERS[is_video]) / name.parent
    yield folder / f"{name.stem}{suffix}"
    count = 2
    while True:
        yield folder / f"{name.stem}_{count}{suffix}"
        count += 1
