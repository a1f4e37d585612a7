"""Test on the oldest and newest of what is claimed, each in an environment of its own.

    pip install nox
    nox --list
    nox -s openmmlab-numpy1                       # the whole suite
    nox -s openmmlab-numpy1 -- tests/test_layers  # what pytest is given instead

Each session works in a copy of the checkout, .nox/SESSION, with its .venv there: the
compiled operators lie beside their sources and fit one PyTorch only. Where there is no
wheel of mmcv for a PyTorch it is compiled, about half an hour on two cores, and kept as
`make setup` keeps it. docs/compatibility.md says which were run, and what came out.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parent
TESTED = Path("requirements", "tested.txt")
ONEDL = Path("requirements", "tested-onedl.txt")
# Oldest of what requirements/ and setup.cfg allow, and NumPy and OpenCV of their time.
OLDEST = (
    *("mmcv==2.1.0", "mmengine==0.10.3"),
    *("numpy==1.26.4", "opencv-python==4.9.0.80"),
)
NUMPY_1 = ("numpy==1.26.4", "opencv-python==4.11.0.86")

# What is installed elsewhere does not count.
os.environ.pop("PYTHONPATH", None)
nox.options.default_venv_backend = "none"
nox.options.sessions = ["openmmlab"]


@nox.session(name="openmmlab")
def openmmlab(session: nox.Session) -> None:
    """OpenMMLab's packages as pinned, NumPy 2 and OpenCV 5."""
    on_openmmlab(session, "python3.11")


@nox.session(name="openmmlab-numpy1")
def openmmlab_numpy1(session: nox.Session) -> None:
    """The same with NumPy 1 and OpenCV 4."""
    on_openmmlab(session, "python3.11", NUMPY_1)


@nox.session(name="openmmlab-oldest")
def openmmlab_oldest(session: nox.Session) -> None:
    """The oldest Python, PyTorch, mmcv and mmengine."""
    on_openmmlab(session, "python3.10", OLDEST, torch="torch==2.6.0")


@nox.session(name="openmmlab-newest")
def openmmlab_newest(session: nox.Session) -> None:
    """The newest Python; mmcv compiles with no newer PyTorch than the pinned one."""
    on_openmmlab(session, "python3.13")


@nox.session(name="onedl")
def onedl(session: nox.Session) -> None:
    """The forks, which need NumPy 1, and OpenCV 4."""
    copy = copy_checkout(session)
    python = copy / ".venv" / "bin" / "python"
    session.run("python3.11", "-m", "venv", copy / ".venv", external=True)
    pins = (copy / ONEDL).read_text()
    builders = [pin_of(pins, "torch"), pin_of(pins, "setuptools")]
    install = (python, "-m", "pip", "install")
    session.run(*install, *builders, "wheel", "packaging", "ninja")
    session.run(*install, "--no-build-isolation", "-r", ONEDL)
    session.run(*install, "--no-build-isolation", "-c", ONEDL, "-e", ".[test]")
    run_tests(session, python)


def on_openmmlab(
    session: nox.Session,
    python: str,
    replaced: tuple[str, ...] = (),
    torch: str | None = None,
) -> None:
    """Set up as `make setup` does, with other versions than the pinned, and test."""
    copy = copy_checkout(session)
    pins = (copy / TESTED).read_text()
    for requirement in replaced:
        # The whole line: a pin may be for some versions of Python only.
        package = re.escape(requirement.split("==")[0])
        pins = re.sub(rf"^{package}==.*$", requirement, pins, flags=re.MULTILINE)
    (copy / TESTED).write_text(pins)
    # Without a name the torch of an earlier run would be kept.
    env = {"TORCH": torch or pin_of(pins, "torch")}
    session.run(python, "tools/setup_env.py", env=env, external=True)
    run_tests(session, copy / ".venv" / "bin" / "python")


def copy_checkout(session: nox.Session) -> Path:
    """Copy what git tracks or would, and go there; what was built before stays."""
    copy = ROOT / ".nox" / session.name
    listed = subprocess.check_output(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        text=True,
    )
    names = set(filter(None, listed.split("\0")))
    for old in copy.glob("[!.]*/**/*.py"):
        if str(old.relative_to(copy)) not in names:
            old.unlink()
    for name in names:
        source, target = ROOT / name, copy / name
        # Links to folders are files to git.
        if source.is_file() or source.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    session.chdir(copy)
    return copy


def pin_of(pins: str, package: str) -> str:
    """The line that pins a package, without what stands behind the version."""
    found = re.search(rf"^{re.escape(package)}==[^\s;]+", pins, re.MULTILINE)
    if found is None:
        raise ValueError(f"{package} is not pinned")
    return found.group()


def run_tests(session: nox.Session, python: Path) -> None:
    """Say what is installed, and run the tests that were asked for."""
    session.run(python, "-m", "mmdet_lite.doctor", external=True)
    wanted = session.posargs or ["-n", "auto", "--maxprocesses", "4"]
    session.run(python, "-m", "pytest", "-rs", *wanted, external=True)
