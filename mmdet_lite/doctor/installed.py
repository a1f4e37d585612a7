"""What pip says is installed, and what Python can import of it."""

import importlib
import multiprocessing
import os
import platform
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path

from ..version import __version__

ORIGINAL, FORK = "OpenMMLab's", "onedl"
# By the name that is imported: the packages that bring it, and whose they are.
DISTRIBUTIONS = {
    "mmengine": {
        "mmengine": ORIGINAL,
        "mmengine-lite": ORIGINAL,
        "onedl-mmengine": FORK,
    },
    "mmcv": {"mmcv": ORIGINAL, "mmcv-lite": ORIGINAL, "onedl-mmcv": FORK},
    "mmdet": {"mmdet": ORIGINAL, "onedl-mmdetection": FORK},
}
_OPENCV = (
    *("opencv-python", "opencv-python-headless"),
    *("opencv-contrib-python", "opencv-contrib-python-headless"),
)
PACKAGES = (
    *("torch", "numpy", *_OPENCV, "pycocotools", "setuptools"),
    *(name for names in DISTRIBUTIONS.values() for name in names),
)
NEEDED = ("torch", "numpy", "cv2", "pycocotools", *DISTRIBUTIONS)
# Each needs some of those before it: the first that fails is the one to mend.
MODULES = (
    *("torch", "numpy", "cv2", "pycocotools.mask"),
    *("mmengine", "mmcv", "mmcv._ext", "mmdet", "mmdet_lite"),
)


@dataclass(frozen=True)
class Installation:
    """What is there.

    Attributes:
        python: version.
        versions: by the name of the package, those of ``PACKAGES`` that are there.
        missing: modules that Python does not find, of those that are needed.
        has_operators: whether mmcv has compiled operators.
        faults: by the name of the module, why it cannot be imported; those of
            ``MODULES`` that were tried and failed, in their order.
    """

    python: str
    versions: dict[str, str]
    missing: tuple[str, ...]
    has_operators: bool
    faults: dict[str, str]

    def providers(self, module: str) -> list[str]:
        """The installed packages of OpenMMLab or its forks that bring a module."""
        return [name for name in DISTRIBUTIONS[module] if name in self.versions]


def look_around() -> Installation:
    """Read pip's records, and import everything in a process of its own."""
    return Installation(
        python=platform.python_version(),
        versions={
            name: version
            for name in PACKAGES
            if (version := _version(name)) is not None
        },
        missing=tuple(name for name in NEEDED if find_spec(name) is None),
        has_operators=_has_operators(),
        faults=import_faults(MODULES),
    )


def describe(installation: Installation) -> str:
    """A line for each package, and for each module that cannot be imported."""
    lines = [f"{'python':<18} {installation.python}"]
    lines += [
        f"{name:<18} {version}" for name, version in installation.versions.items()
    ]
    lines.append(f"{'mmdet_lite':<18} {__version__}, {Path(__file__).parents[1]}")
    lines += [
        f"{f'import {module}':<18} fails: {reason}"
        for module, reason in installation.faults.items()
    ]
    return "\n".join(lines)


def import_faults(modules: Sequence[str]) -> dict[str, str]:
    """Import modules one after the other, and keep why it fails where it does.

    It happens in a process of its own, which a library that was compiled for another
    one may end at once; the modules after that are not tried.

    Args:
        modules: names.

    Returns:
        dict: by the name of the module, one line.
    """
    # A fork has this process's path and flags, and imports nothing by itself.
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_import_all, args=(modules, sender))
    process.start()
    sender.close()
    faults = {}
    for module in modules:
        try:
            fault = receiver.recv()
        except EOFError:
            process.join()
            faults[module] = f"Python ended with status {process.exitcode}"
            break
        if fault is not None:
            faults[module] = fault
    process.join()
    return faults


def _import_all(modules: Sequence[str], sender: Connection) -> None:
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    warnings.simplefilter("ignore")
    # This package is here without what it imports for others.
    for name in [name for name in sys.modules if name.startswith("mmdet_lite")]:
        del sys.modules[name]
    for module in modules:
        try:
            importlib.import_module(module)
            fault = None
        except BaseException as error:  # Whatever a broken package comes up with.
            fault = " ".join(f"{type(error).__name__}: {error}".split())
        sender.send(fault)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _has_operators() -> bool:
    # Looking for mmcv._ext by its name would import mmcv.
    spec = find_spec("mmcv")
    folders = (spec.submodule_search_locations if spec else None) or ()
    return any(any(Path(folder).glob("_ext.*")) for folder in folders)
