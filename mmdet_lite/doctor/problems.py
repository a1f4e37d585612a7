"""What is wrong with an installation, and the command that mends it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..openmmlab import REBUILD, REQUIREMENTS, install_command
from .installed import DISTRIBUTIONS, FORK, ORIGINAL, Installation

# Of requirements/runtime.txt.
TORCH = ">=2.6,<2.14"
_OTHERS = {
    "torch": f'"torch{TORCH}"',
    "numpy": "numpy",
    "cv2": "opencv-python",
    "pycocotools": "pycocotools",
}
_TESTED = (
    "see the versions in requirements/tested.txt, and open an issue with all of this "
    "where they fail too"
)


@dataclass(frozen=True)
class Problem:
    """Something that has to be mended: what, in a line, and what to run for it."""

    what: str
    command: str


def find_problems(installation: Installation) -> list[Problem]:
    """What has to be mended, first things first.

    Args:
        installation: what is there.

    Returns:
        list[Problem]: empty where everything can be imported and fits.
    """
    problems = [
        *_missing(installation),
        *_wrong_families(installation),
        *_wrong_versions(installation),
        *_no_operators(installation),
    ]
    if problems or not installation.faults:
        # What cannot be imported most often follows from the above.
        return problems
    module, reason = next(iter(installation.faults.items()))
    return [_explain(installation, module, reason)]


def _missing(installation: Installation) -> Iterator[Problem]:
    for module, package in _OTHERS.items():
        if module in installation.missing:
            yield Problem(f"{module} is missing", f"pip install {package}")
    missing = [name for name in DISTRIBUTIONS if name in installation.missing]
    if not missing:
        return
    what = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
    if FORK not in _families(installation):
        yield Problem(what, install_command(missing))
        return
    # Of the forks that are there the rest is needed, too.
    names = [
        name
        for module in missing
        for name, family in DISTRIBUTIONS[module].items()
        if family == FORK
    ]
    yield Problem(what, f"pip install --no-build-isolation {' '.join(names)}")


def _wrong_families(installation: Installation) -> Iterator[Problem]:
    """Packages that bring the same files, or were never meant for one another."""
    if len(_families(installation)) > 1:
        installed = [
            name for module in DISTRIBUTIONS for name in installation.providers(module)
        ]
        yield Problem(
            f"packages of OpenMMLab and of its onedl forks are mixed: "
            f"{', '.join(installed)}",
            f"pip uninstall -y {' '.join(installed)} && "
            f"{install_command(REQUIREMENTS)}",
        )
        return
    for module in DISTRIBUTIONS:
        names = installation.providers(module)
        if len(names) > 1:
            # They overwrote each other's files, so what is left is of neither.
            yield Problem(
                f"{' and '.join(names)} are both installed, and bring the same files",
                f"pip uninstall -y {' '.join(names)} && "
                f"{install_command([module], '--no-cache-dir')}",
            )


def _wrong_versions(installation: Installation) -> Iterator[Problem]:
    versions = installation.versions
    if "torch" in versions and not _fits(versions["torch"], TORCH):
        yield Problem(
            f"torch {versions['torch']} does not fit, {TORCH} is needed",
            f'pip install "torch{TORCH}" && {install_command(["mmcv"], REBUILD)}',
        )
    if _families(installation) == {ORIGINAL}:
        for module, needed in REQUIREMENTS.items():
            names = installation.providers(module)
            if len(names) == 1 and not _fits(versions[names[0]], needed):
                yield Problem(
                    f"{names[0]} {versions[names[0]]} does not fit, "
                    f"{module}{needed} is needed",
                    install_command([module]),
                )
    if "onedl-mmdetection" in versions and _release(versions.get("numpy", "0")) >= (2,):
        yield Problem(
            "onedl-mmdetection imports imgaug, which breaks on NumPy "
            f"{versions['numpy']}",
            'pip install "numpy<2" "opencv-python<5"',
        )


def _no_operators(installation: Installation) -> Iterator[Problem]:
    if "mmcv" in installation.missing or installation.has_operators:
        return
    names = installation.providers("mmcv") or ["mmcv"]
    if len(names) == 1:
        yield Problem(
            f"{names[0]} is installed without its compiled operators",
            f"pip uninstall -y {names[0]} && {_build_mmcv(installation)}",
        )


def _explain(installation: Installation, module: str, reason: str) -> Problem:
    """The problem behind an import that fails though all versions fit."""
    command = _TESTED
    if "pkg_resources" in reason:
        command = 'pip install "setuptools<81"'
    elif module == "mmcv._ext":
        return Problem(
            f"mmcv's operators do not load, as if compiled for another torch: {reason}",
            _build_mmcv(installation),
        )
    elif module == "cv2" and "cannot open shared object file" in reason:
        version = installation.versions.get("opencv-python")
        package = "opencv-python-headless" + (f"=={version}" if version else "")
        command = f"pip install --force-reinstall --no-deps {package}"
    elif re.search("numpy.dtype size changed|multiarray|_ARRAY_API", reason):
        package = _OTHERS.get(module.partition(".")[0], module)
        command = f"pip install --upgrade --force-reinstall --no-cache-dir {package}"
    return Problem(f"import {module} fails: {reason}", command)


def _build_mmcv(installation: Installation) -> str:
    version = installation.versions.get("onedl-mmcv")
    if version is None:
        return install_command(["mmcv"], REBUILD)
    return f"pip install --no-build-isolation {REBUILD} onedl-mmcv=={version}"


def _families(installation: Installation) -> set[str]:
    return {
        family
        for names in DISTRIBUTIONS.values()
        for name, family in names.items()
        if name in installation.versions
    }


def _fits(version: str, needed: str) -> bool:
    """Whether a version is in a range such as ``'>=2.1,<2.2'``."""
    bounds = re.findall(r"(>=|<)([\d.]+)", needed)
    return all(
        (_release(version) >= _release(bound)) == (operator == ">=")
        for operator, bound in bounds
    )


def _release(version: str) -> tuple[int, ...]:
    """``(2, 13, 0)`` of ``'2.13.0+cpu'``."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else (0,)
