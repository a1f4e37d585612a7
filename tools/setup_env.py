"""Create .venv and install everything that the project needs.

Run it through ``make setup``. It needs nothing but the standard library, and pip does
the work, with its own settings. A second run returns at once unless a requirement,
the Python or this script has changed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RANGES = ROOT / "requirements" / "runtime.txt"
TESTED = ROOT / "requirements" / "tested.txt"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
CONSTRAINTS = VENV / "constraints.txt"
# The TORCH that was asked for; a second line once the set-up is complete.
STAMP = VENV / "setup-stamp.txt"

MIN_PYTHON = (3, 10)
PYTHON_NAME = f"{sys.version_info[0]}.{sys.version_info[1]}"
PYTHON_TAG = f"cp{sys.version_info[0]}{sys.version_info[1]}"
# What builds mmcv and this package; setuptools 81 lacks what mmcv's setup.py imports.
BUILD_TOOLS = ("pip>=21.3", "setuptools>=70,<81", "wheel", "ninja")
COMPILERS = ("c++", "g++", "clang++")

# A wheel of mmcv works with one version of torch only, which its name does not tell.
# So there is a folder for each, and pip's own cache must not be used.
CACHE_HOME = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
WHEELS = CACHE_HOME / "mmdet_lite" / "wheels"
# Prints what a compiled mmcv depends on: by mmcv's own rules it gets CUDA operators
# where there is a GPU, but they need nvcc.
TORCH_PROBE = """
import os, torch
from torch.utils.cpp_extension import CUDA_HOME
nvcc = os.path.exists(os.path.join(CUDA_HOME or "", "bin", "nvcc"))
wanted = torch.cuda.is_available() or os.environ.get("FORCE_CUDA") == "1"
cuda = torch.version.cuda and nvcc and wanted
print("torch" + torch.__version__ + ("-cuda-ops" if cuda else ""))
"""


class SetupError(Exception):
    """What stops the set-up, said in one line."""


def run(
    step: str,
    *command: str | Path,
    env: dict[str, str] | None = None,
    advice: str = "",
) -> None:
    """Run a command in the open; where it fails, stop with a word of advice."""
    print(f"==> {step}", flush=True)
    if subprocess.run(command, cwd=ROOT, env=env).returncode:
        raise SetupError(f"this failed, for the reason above: {step}{advice}")


def pip(step: str, *arguments: str | Path, **options) -> None:
    """Run .venv's pip, as ``run`` does."""
    run(step, PYTHON, "-m", "pip", *arguments, **options)


def ask(code: str) -> subprocess.CompletedProcess[str]:
    """Run a line of Python in .venv and keep what it writes."""
    # Not from the checkout's folder, where its packages import uninstalled.
    command = [PYTHON, "-c", code]
    return subprocess.run(command, cwd=VENV, capture_output=True, text=True)


def import_error(module: str) -> str:
    """Return why a module does not import in .venv, nothing if it does."""
    result = ask(f"import {module}")
    lines = result.stderr.splitlines() or [f"exit status {result.returncode}"]
    return lines[-1] if result.returncode else ""


def tested(package: str) -> str:
    """Return the requirement for the version that the tested set pins."""
    return re.search(rf"^{package}==[^\s;]+", TESTED.read_text(), re.M).group()


# What is asked for


def chosen_torch() -> str:
    """Return the torch that TORCH names now or named before, nothing by default.

    It is remembered, lest ``make test`` after ``make setup TORCH=...`` put the tested
    torch back.
    """
    remembered = STAMP.read_text().partition("\n")[0] if STAMP.exists() else ""
    choice = os.environ.get("TORCH") or remembered
    if not re.fullmatch(r"(torch\s*([=<>!~@].*)?)?", choice):
        raise SetupError(f"TORCH must be a requirement, as torch==2.9.1, not {choice}")
    return choice if choice != tested("torch") else ""


def fingerprint() -> str:
    """Return a hash of all else that decides what .venv must hold."""
    digest = hashlib.sha256(f"{PYTHON_TAG} {ROOT}".encode())
    names = (
        "requirements/runtime.txt",
        "requirements/mminstall.txt",
        "setup.cfg",
        "setup.py",
        "mmdet_lite/ops/build.py",
    )
    # The extension is compiled while the package is installed.
    sources = sorted((ROOT / "mmdet_lite" / "ops" / "csrc").iterdir())
    for file in (TESTED, Path(__file__), *(ROOT / name for name in names), *sources):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def write_constraints(torch: str) -> None:
    """Write the tested set with the wanted torch in place of the tested one."""
    # A CUDA build of torch pins the one Triton that fits it.
    replaced = ("torch==", "triton==") if torch else ()
    lines = TESTED.read_text().splitlines()
    kept = [line for line in lines if not line.startswith(replaced)]
    CONSTRAINTS.write_text("\n".join([*kept, torch]) + "\n")


# What the machine must have


def check_python() -> None:
    """Stop at a Python that is too old or cannot make environments."""
    if sys.version_info < MIN_PYTHON:
        needed = ".".join(map(str, MIN_PYTHON))
        raise SetupError(
            f"Python {PYTHON_NAME} is too old, {needed} or newer is needed: install "
            "one (sudo apt install python3) and name it: make setup PYTHON=python3.X"
        )
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        raise SetupError(
            f"Python {PYTHON_NAME} cannot make virtual environments: "
            f"sudo apt install python{PYTHON_NAME}-venv"
        )


def find_compiler() -> str:
    """Return the C++ compiler: what CXX says, else the first on PATH; or stop."""
    named = os.environ.get("CXX", "").strip()
    compilers = (named,) if named else COMPILERS
    for compiler in compilers:
        if shutil.which(shlex.split(compiler)[0]):
            return compiler
    raise SetupError(
        f"mmcv must be compiled but there is no C++ compiler ({', '.join(compilers)}): "
        "sudo apt install build-essential"
    )


def check_build() -> None:
    """Stop where mmcv cannot be compiled."""
    find_compiler()
    if not Path(sysconfig.get_paths()["include"], "Python.h").exists():
        raise SetupError(
            "mmcv must be compiled but Python.h is missing: "
            f"sudo apt install python{PYTHON_NAME}-dev"
        )


# mmcv, which PyPI has no wheels of


def mmcv_wheels(folder: Path) -> list[Path]:
    """Return the wheel of mmcv in a folder, if there is one."""
    name = tested("mmcv").replace("==", "-")
    return list(folder.glob(f"{name}-{PYTHON_TAG}-*_{platform.machine()}.whl"))


def prebuilt_wheels() -> list[Path]:
    """Return a wheel that pip finds where its settings lead it, if there is one."""
    print("==> Looking for a prebuilt mmcv", flush=True)
    folder = VENV / "prebuilt"
    command = [PYTHON, "-m", "pip", "download", "-q", "--no-deps", "-d", folder]
    command += ["--only-binary", "mmcv", tested("mmcv")]
    # Most often there is none, which is no error to be shown.
    subprocess.run(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    return mmcv_wheels(folder)


def compile_mmcv(folder: Path) -> None:
    """Compile mmcv from its source package into a folder."""
    check_build()
    cuda = folder.name.endswith("-cuda-ops")
    env = {"MAX_JOBS": str(len(os.sched_getaffinity(0))), **os.environ}
    env |= {"MMCV_WITH_OPS": "1", "CXX": find_compiler()}
    # torch calls ninja by its bare name.
    env["PATH"] = f"{PYTHON.parent}{os.pathsep}{env['PATH']}"
    # It helps mmcv's setup.py on Python 3.13.
    env["PYTHONPATH"] = str(ROOT / "tools" / "mmcv_build")
    if not cuda:
        env |= {"FORCE_CUDA": "0", "CUDA_VISIBLE_DEVICES": ""}
    advice = "; fewer jobs at a time need less memory: make setup MAX_JOBS=1"
    if cuda:
        advice += ", CPU operators alone less of everything: CUDA_VISIBLE_DEVICES="
    pip(
        f"Compiling mmcv {'with' if cuda else 'without'} CUDA operators: once, about "
        "half an hour on two cores",
        *("wheel", "-v", "--no-deps", "--no-build-isolation", "--no-cache-dir"),
        *("--no-binary", "mmcv", "-w", folder, tested("mmcv")),
        env=env,
        advice=advice,
    )


def candidate_wheels(folder: Path, prebuilt: list[Path]) -> Iterator[Path]:
    """Yield wheels of mmcv: compiled before, prebuilt, compiled now."""
    yield from mmcv_wheels(folder)
    yield from prebuilt
    compile_mmcv(folder)
    yield from mmcv_wheels(folder)


def install_mmcv(prebuilt: list[Path]) -> None:
    """Install mmcv from the first wheel whose operators load with this torch."""
    reason = import_error("torch")
    if reason:
        raise SetupError(f"torch does not import: {reason}")
    # Warnings may stand before the answer.
    folder = WHEELS / f"{PYTHON_TAG}-{ask(TORCH_PROBE).stdout.split()[-1]}"
    for wheel in candidate_wheels(folder, prebuilt):
        # pip would keep one of the same version that was built for another torch.
        subprocess.run([PYTHON, "-m", "pip", "uninstall", "-qqy", "mmcv"], cwd=ROOT)
        pip("Installing mmcv", "install", "-c", CONSTRAINTS, wheel)
        repair_opencv()
        reason = import_error("mmcv._ext")
        if not reason:
            return
        wheel.unlink()
        print(f"This wheel of mmcv does not work here: {reason}", flush=True)
    raise SetupError(f"mmcv was compiled but does not work with this torch: {reason}")


def repair_opencv() -> None:
    """Put the headless OpenCV in place of one that lacks a desktop's libraries.

    It goes over the installed opencv-python, whose name mmengine's requirements
    ask for, and which pip would otherwise bring back.
    """
    reason = import_error("cv2")
    if "cannot open shared object file" in reason:
        headless = tested("opencv-python").replace("==", "-headless==")
        pip(
            f"Installing OpenCV without its desktop part ({reason})",
            *("install", "--force-reinstall", "--no-deps", headless),
        )
        reason = import_error("cv2")
    # Stop here, lest a good wheel of mmcv, which imports OpenCV, take the blame.
    if reason:
        raise SetupError(f"OpenCV does not import: {reason}")


# All of it


def ensure_venv() -> None:
    """Create .venv, or create it anew if it cannot be used with this Python."""
    version = tuple(sys.version_info[:2])
    probe = f"import pip, sys; sys.exit(sys.version_info[:2] != {version})"
    if not PYTHON.exists() or ask(probe).returncode:
        run("Creating .venv", sys.executable, "-m", "venv", "--clear", VENV)


def set_up() -> None:
    """Bring .venv up to date."""
    check_python()
    torch = chosen_torch()
    stamp = f"{torch}\n{fingerprint()}\n"
    if PYTHON.exists() and STAMP.exists() and STAMP.read_text() == stamp:
        print("The environment in .venv is up to date.")
        return

    ensure_venv()
    STAMP.write_text(f"{torch}\n")
    write_constraints(torch)
    prebuilt = prebuilt_wheels()
    # What compiling lacks is better said before gigabytes of torch are fetched, though
    # only torch tells whether a compiled wheel fits.
    if not (prebuilt or any(map(mmcv_wheels, WHEELS.glob(f"{PYTHON_TAG}-*")))):
        check_build()
    torch = torch or tested("torch")
    # Without the other constraints: they name torch too, and where there is no wheel
    # pip would then report two conflicting demands for it.
    pip(
        f"Installing build tools and {torch}",
        *("install", "-c", RANGES, *BUILD_TOOLS, torch),
        advice=f"; if there is no wheel for Python {PYTHON_NAME}, name another Python "
        "(make setup PYTHON=python3.X) or torch (make setup TORCH=torch==X.Y.Z)",
    )
    install_mmcv(prebuilt)
    pip(
        "Installing mmdet_lite and what it needs",
        *("install", "-c", CONSTRAINTS, "--no-build-isolation"),
        *("-r", "requirements/mminstall.txt", "-e", ".[test,demo]"),
    )
    run("Checking what is installed", PYTHON, "-m", "mmdet_lite.doctor")
    STAMP.write_text(stamp)
    print("The environment is ready: .venv/bin/python")


def main(arguments: Sequence[str] = ()) -> int:
    """Set up the checkout that this file lies in.

    Args:
        arguments: of the command line, which takes none but ``--help``.
    """
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args(arguments)
    try:
        set_up()
    except (SetupError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
