"""Create .venv and install everything that the project needs.

Run it through ``make setup``. It needs nothing but the standard library. A second
run returns at once unless a requirement, the Python or this script has changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

MIN_PYTHON = (3, 10)
# The first pip that installs a project without setup.py in editable mode.
MIN_PIP = (21, 3)
# mmcv is built without isolation, with what .venv holds.
BUILD_TOOLS = ["setuptools>=70,<81", "wheel", "ninja"]
COMPILERS = ("c++", "g++", "clang++")

PYTHON_NAME = f"{sys.version_info[0]}.{sys.version_info[1]}"
PYTHON_TAG = f"cp{sys.version_info[0]}{sys.version_info[1]}"

NINJA_STEP = re.compile(r"\s*\[(\d+)/(\d+)\] ")
PIP_STEP = re.compile(r"\s*((?:Collecting|Downloading|Building|Installing) [^:]*)")
# The last of pip's attempts, whose number is the user's to set.
NO_CONNECTION = re.compile(r"Retry\(total=0\b|Could not fetch URL")
BUILD_ERROR = re.compile(r"(?:error|\w+Error): .*")

TORCH_PROBE = """
import json, os, torch
from torch.utils.cpp_extension import CUDA_HOME
print(json.dumps({
    "version": torch.__version__,
    "cuda": torch.version.cuda is not None,
    "gpu": torch.version.cuda is not None and torch.cuda.is_available(),
    "toolkit": os.path.exists(os.path.join(CUDA_HOME or "", "bin", "nvcc")),
}))
"""


class SetupError(Exception):
    """What stops the set-up, said in one line."""


@dataclass(frozen=True)
class Finished:
    """How a command ended and what it wrote."""

    returncode: int
    output: str

    @property
    def ok(self) -> bool:
        """Whether the command succeeded."""
        return self.returncode == 0

    @property
    def reason(self) -> str:
        """The line that best tells why the command failed."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        # pip's "ResolutionImpossible" follows the line that names the packages.
        errors = [
            line[7:]
            for line in lines
            if line.startswith("ERROR: ") and "ResolutionImpossible" not in line
        ]
        return (errors or lines or [f"exit status {self.returncode}"])[-1]


class Progress:
    """Shows that a long command is alive.

    On a terminal it is one line, redrawn every second; elsewhere a line is added
    every half minute.
    """

    def __init__(self, title: str, stream: TextIO | None = None) -> None:
        self._title = title
        self._stream = stream or sys.stdout
        self._terminal = self._stream.isatty()
        self._interval = 1 if self._terminal else 30
        self._detail = ""
        self._start = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Progress:
        if not self._terminal:
            print(self._title, file=self._stream, flush=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._terminal:
            line = f"\r\033[K{self._title} ({self.elapsed})"
            print(line, file=self._stream, flush=True)

    @property
    def elapsed(self) -> str:
        """Minutes and seconds since the start."""
        seconds = int(time.monotonic() - self._start)
        return f"{seconds // 60}:{seconds % 60:02}"

    def saw(self, line: str) -> None:
        """Note what a line of the command's output tells about its progress."""
        self._detail = describe_step(line) or self._detail

    def show(self) -> None:
        """Write the present state."""
        text = f"{self._title}: {self._detail or 'working'} ({self.elapsed})"
        if self._terminal:
            text = text[: shutil.get_terminal_size().columns - 1]
            self._stream.write(f"\r\033[K{text}")
        else:
            self._stream.write(f"  {text}\n")
        self._stream.flush()

    def _beat(self) -> None:
        while not self._over.wait(self._interval):
            self.show()


def describe_step(line: str) -> str | None:
    """Say what ninja or pip is doing, if this line of their output tells."""
    ninja = NINJA_STEP.match(line)
    if ninja:
        done, total = int(ninja.group(1)), int(ninja.group(2))
        return f"compiled {done} of {total} files, {100 * done // total} %"
    pip = PIP_STEP.match(line)
    return pip.group(1).strip() if pip else None


def run(
    command: list[str],
    title: str | None = None,
    log: Path | None = None,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> Finished:
    """Run a command to its end.

    Args:
        command: The command and its arguments.
        title: Report progress under this title.
        log: Append the command and its output to this file.
        env: The command's environment, this process's own by default.
        cwd: The folder to run in.
    """
    lines = []
    with contextlib.ExitStack() as stack:
        copy = stack.enter_context(log.open("a", encoding="utf-8")) if log else None
        if copy:
            copy.write(f"$ {' '.join(map(shlex.quote, command))}\n")
        progress = stack.enter_context(Progress(title)) if title else None
        process = stack.enter_context(
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=cwd,
                encoding="utf-8",
                errors="replace",
            )
        )
        for line in process.stdout or ():
            lines.append(line)
            if copy:
                copy.write(line)
                copy.flush()
            if progress:
                progress.saw(line)
    return Finished(process.returncode, "".join(lines))


def say(line: str) -> None:
    """Tell the user something worth a line."""
    print(line, flush=True)


@dataclass(frozen=True)
class Project:
    """The checkout that is set up and the files this script keeps."""

    root: Path

    @property
    def venv(self) -> Path:
        """The virtual environment."""
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        """The environment's Python."""
        return self.venv / "bin" / "python"

    @property
    def log(self) -> Path:
        """What pip wrote."""
        return self.venv / "setup.log"

    @property
    def requirements(self) -> Path:
        """What the package needs, as ranges."""
        return self.root / "requirements.txt"

    @property
    def tested(self) -> Path:
        """The exact versions of the tested set, as constraints."""
        return self.root / "requirements" / "tested.txt"

    @property
    def constraints(self) -> Path:
        """The tested set with the torch that was asked for."""
        return self.venv / "constraints.txt"

    @property
    def state(self) -> Path:
        """The stamp: what a complete set-up was made from."""
        return self.venv / "setup-state.json"

    def pin(self, package: str) -> str:
        """Return the tested version of a package."""
        pinned = re.search(rf"^{package}==(\S+)", self.tested.read_text(), re.MULTILINE)
        if not pinned:
            raise SetupError(f"{self.tested} does not pin {package}")
        return pinned.group(1)

    def pip(
        self,
        *arguments: str,
        title: str | None = None,
        log: Path | None = None,
        env: dict[str, str] | None = None,
    ) -> Finished:
        """Run the environment's pip, which takes its settings as everywhere."""
        command = [str(self.python), "-m", "pip", *arguments]
        return run(command, title, log or self.log, env, self.root)

    def install(self, *arguments: str, title: str) -> None:
        """Install with pip, within the constraints, or say why not."""
        result = self.pip(
            "install", "-c", str(self.constraints), *arguments, title=title
        )
        if not result.ok:
            raise SetupError(f"{title} failed: {self.explain(result)}")

    def explain(self, result: Finished) -> str:
        """Say in one line why pip failed."""
        if NO_CONNECTION.search(result.output):
            return f"pip cannot reach its package index (see {self.log})"
        return f"{result.reason} (see {self.log})"

    def imports(self, *modules: str) -> Finished:
        """Import modules in the environment's Python."""
        command = [str(self.python), "-c", f"import {', '.join(modules)}"]
        # Not from the checkout's folder, where its packages import uninstalled.
        return run(command, log=self.log, cwd=self.venv)


# The state of an earlier set-up


def read_state(project: Project) -> dict[str, str]:
    """Return what the last set-up noted, nothing if there is none."""
    try:
        return dict(json.loads(project.state.read_text()))
    except (OSError, ValueError):
        return {}


def write_state(project: Project, state: dict[str, str]) -> None:
    """Note what .venv now holds."""
    project.state.write_text(json.dumps(state, indent=2) + "\n")


def fingerprint(project: Project, torch: str) -> str:
    """Return a hash of all that decides what .venv must hold."""
    files = [
        project.requirements,
        project.tested,
        project.root / "setup.cfg",
        # The extension is compiled while the package is installed.
        project.root / "setup.py",
        *sorted((project.root / "mmdet_lite" / "ops" / "csrc").iterdir()),
        Path(__file__),
    ]
    parts = [PYTHON_TAG, str(project.root), torch]
    digest = hashlib.sha256("\0".join(parts).encode())
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def wanted_torch(project: Project, state: dict[str, str]) -> str:
    """Return the requirement for torch: asked for now, before, or the tested one.

    A choice is remembered, lest ``make test`` after ``TORCH=... make setup`` put the
    tested torch back.
    """
    choice = os.environ.get("TORCH") or state.get("torch")
    if choice and not re.match(r"torch\s*(\[|[=<>!~@]|$)", choice):
        raise SetupError(f"TORCH must be a requirement, as torch==2.9.1, not {choice}")
    return choice or tested_torch(project)


def tested_torch(project: Project) -> str:
    """Return the requirement for the tested torch."""
    return f"torch=={project.pin('torch')}"


# Checks of the machine


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


def find_compiler() -> str | None:
    """Return the C++ compiler to use: what CXX says, else the first on PATH."""
    named = os.environ.get("CXX", "").strip()
    if named:
        return named if shutil.which(shlex.split(named)[0]) else None
    return next(filter(shutil.which, COMPILERS), None)


def build_obstacle() -> str | None:
    """Say what keeps this machine from compiling mmcv, if anything does."""
    if not find_compiler():
        named = os.environ.get("CXX", "").strip()
        missing = (
            f"the C++ compiler that CXX names, {named}, is not there"
            if named
            else f"there is no C++ compiler ({', '.join(COMPILERS)})"
        )
        return f"mmcv must be compiled but {missing}: sudo apt install build-essential"
    if not Path(sysconfig.get_paths()["include"], "Python.h").exists():
        return (
            "mmcv must be compiled but Python.h is missing: "
            f"sudo apt install python{PYTHON_NAME}-dev"
        )
    return None


# The environment and torch


def ensure_venv(project: Project) -> None:
    """Create .venv, or create it anew if it cannot be used with this Python."""
    if project.venv.exists():
        if venv_python(project) == PYTHON_NAME and project.imports("pip").ok:
            return
        say(f"{project.venv} does not belong to Python {PYTHON_NAME}: making it anew")
    command = [sys.executable, "-m", "venv", "--clear", str(project.venv)]
    result = run(command, title="Creating .venv")
    if not result.ok:
        raise SetupError(f"could not create {project.venv}: {result.reason}")


def venv_python(project: Project) -> str | None:
    """Return the version, as 3.11, of the Python that .venv was made with."""
    settings = project.venv / "pyvenv.cfg"
    if not (settings.exists() and project.python.exists()):
        return None
    version = re.search(r"^version\s*=\s*(\d+\.\d+)", settings.read_text(), re.M)
    return version.group(1) if version else None


def write_constraints(project: Project, torch: str) -> None:
    """Write the tested set with the wanted torch in place of the tested one."""
    lines = project.tested.read_text().splitlines()
    replaced = ("torch==",)
    if torch != tested_torch(project):
        # A CUDA build of torch pins the one Triton that fits it.
        replaced += ("triton==",)
    kept = [line for line in lines if not line.startswith(replaced)]
    project.constraints.write_text("\n".join([*kept, torch]) + "\n")


def install_build_tools(project: Project) -> None:
    """Install what builds mmcv, and a newer pip where the old one will not do."""
    found = re.match(r"pip (\d+)\.(\d+)", project.pip("--version").output)
    if found and tuple(map(int, found.groups())) < MIN_PIP:
        project.install("--upgrade", "pip", title="Upgrading pip")
    project.install(*BUILD_TOOLS, title="Installing build tools")


def install_torch(project: Project, torch: str) -> None:
    """Install torch, before all that is built against it."""
    title = f"Installing {torch}"
    # Without the constraints: they name torch too, and where there is no wheel pip
    # would then report two conflicting demands for it.
    result = project.pip("install", torch, title=title)
    if result.ok:
        return
    reason = project.explain(result)
    if reason.startswith("No matching distribution found for torch"):
        raise SetupError(
            f"{torch} has no wheel for Python {PYTHON_NAME} on {platform.machine()}: "
            "name a Python that it has one for (make setup PYTHON=python3.X) or "
            "another torch (make setup TORCH=torch==X.Y.Z)"
        )
    raise SetupError(f"{title} failed: {reason}")


@dataclass(frozen=True)
class Torch:
    """What matters of the installed torch to mmcv."""

    version: str
    cuda: bool
    gpu: bool
    toolkit: bool

    @property
    def builds_cuda(self) -> bool:
        """Whether mmcv's own rules lead to CUDA operators, and nvcc is there."""
        forced = os.environ.get("FORCE_CUDA") == "1"
        return self.cuda and self.toolkit and (self.gpu or forced)


def probe_torch(project: Project) -> Torch:
    """Ask the installed torch about itself."""
    result = run([str(project.python), "-c", TORCH_PROBE], log=project.log)
    if not result.ok:
        raise SetupError(f"torch does not import: {result.reason}")
    # Warnings of torch's may stand around the answer.
    answer = next(line for line in result.output.splitlines() if line[:1] == "{")
    return Torch(**json.loads(answer))


def install_dependencies(project: Project) -> None:
    """Install the package's requirements except mmcv.

    They come before mmcv, as mmcv cannot be imported without them, and so that
    whatever is wrong with them shows before half an hour of compiling.
    """
    lines = [line.strip() for line in project.requirements.read_text().splitlines()]
    wanted = [line for line in lines if line and not line.startswith(("#", "mmcv"))]
    project.install(*wanted, title="Installing requirements")


def repair_opencv(project: Project) -> None:
    """Put the headless OpenCV in place of one that lacks a desktop's libraries.

    It goes over the installed opencv-python, whose name mmengine's requirements
    ask for, and which pip would otherwise bring back.
    """
    result = project.imports("cv2")
    if result.ok:
        return
    if "cannot open shared object file" not in result.output:
        raise SetupError(f"OpenCV does not import: {result.reason}")
    probe = "from importlib.metadata import version; print(version('opencv-python'))"
    version = run([str(project.python), "-c", probe]).output.strip()
    say(f"OpenCV lacks a desktop's library ({result.reason}): taking the headless one")
    project.install(
        "--force-reinstall",
        "--no-deps",
        f"opencv-python-headless=={version}",
        title="Installing opencv-python-headless",
    )
    result = project.imports("cv2")
    if not result.ok:
        raise SetupError(f"OpenCV does not import: {result.reason}")


# mmcv, which PyPI has no wheels of


@dataclass(frozen=True)
class WheelCache:
    """Our own place for wheels of mmcv.

    A wheel of mmcv works with one version of torch only, which its name does not
    tell. So there is a folder for each, and pip's own cache is not used.
    """

    folder: Path
    version: str

    @classmethod
    def home(cls) -> Path:
        """Return the folder of all such caches."""
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(base) / "mmdet_lite" / "wheels"

    @classmethod
    def for_torch(cls, version: str, torch: Torch) -> WheelCache:
        """Return the cache for this Python and torch."""
        key = f"{PYTHON_TAG}-torch{torch.version}"
        if torch.builds_cuda:
            key += "-cuda-ops"
        return cls(cls.home() / key, version)

    @property
    def key(self) -> str:
        """What a wheel of this cache belongs to."""
        return f"{self.version}-{self.folder.name}"

    @property
    def log(self) -> Path:
        """What the build wrote."""
        return self.folder / "build.log"

    def wheel(self) -> Path | None:
        """Return the wheel that the cache holds."""
        name = f"mmcv-{self.version}-{PYTHON_TAG}-*_{platform.machine()}.whl"
        return next(self.folder.glob(name), None)


def check_mmcv_obtainable(project: Project, torch: str) -> None:
    """Stop early if mmcv has to be compiled and this machine cannot."""
    obstacle = build_obstacle()
    if not obstacle:
        return
    version = project.pin("mmcv")
    exact = re.match(r"torch==([\w.+]+)$", torch)
    keys = f"{PYTHON_TAG}-torch{exact.group(1) if exact else ''}*"
    if any(
        WheelCache(folder, version).wheel() for folder in WheelCache.home().glob(keys)
    ):
        return
    with tempfile.TemporaryDirectory() as folder:
        if not download_wheel(project, WheelCache(Path(folder), version)):
            raise SetupError(obstacle)


def install_mmcv(project: Project, cache: WheelCache, torch: Torch) -> None:
    """Install mmcv from the first source whose wheel works with this torch."""
    cache.folder.mkdir(parents=True, exist_ok=True)
    for wheel in candidate_wheels(project, cache, torch):
        result = install_wheel(project, wheel)
        if result.ok:
            return
        wheel.unlink()
        say(f"This wheel of mmcv does not work here: {result.reason}")
    raise SetupError(
        f"mmcv {cache.version} was compiled but does not work with torch "
        f"{torch.version}: {result.reason} (see {cache.log})"
    )


def candidate_wheels(
    project: Project, cache: WheelCache, torch: Torch
) -> Iterator[Path]:
    """Yield wheels of mmcv in the cache's folder, the ones at hand first."""
    kept = cache.wheel()
    if kept:
        yield kept
    found = download_wheel(project, cache)
    if found:
        yield found
    yield build_wheel(project, cache, torch)


def download_wheel(project: Project, cache: WheelCache) -> Path | None:
    """Bring a prebuilt wheel to the cache, if pip can find one."""
    result = project.pip(
        *("download", "--no-deps", "--no-cache-dir", "--only-binary", "mmcv"),
        *("-d", str(cache.folder), f"mmcv=={cache.version}"),
        title="Looking for a wheel of mmcv",
    )
    return cache.wheel() if result.ok else None


def build_wheel(project: Project, cache: WheelCache, torch: Torch) -> Path:
    """Compile mmcv from its source package, into the cache."""
    obstacle = build_obstacle()
    if obstacle:
        raise SetupError(obstacle)
    say(
        "mmcv has to be compiled. This takes about half an hour on two cores and "
        f"happens once. Log: {cache.log}"
    )
    if torch.gpu and not torch.builds_cuda:
        say("There is no CUDA toolkit (nvcc): mmcv gets its CPU operators only.")
    cache.log.unlink(missing_ok=True)
    result = project.pip(
        *("wheel", "-v", "--no-deps", "--no-build-isolation", "--no-cache-dir"),
        *("--no-binary", "mmcv", "-w", str(cache.folder), f"mmcv=={cache.version}"),
        title=f"Compiling mmcv {cache.version}",
        log=cache.log,
        env=build_environment(project, torch),
    )
    wheel = cache.wheel()
    if not (result.ok and wheel):
        # pip ends with its own summary, the cause is what came first.
        cause = BUILD_ERROR.search(result.output)
        reason = cause.group() if cause else result.reason
        advice = (
            "; it may without its CUDA operators: CUDA_VISIBLE_DEVICES= make setup"
            if torch.builds_cuda
            else ""
        )
        raise SetupError(
            f"mmcv {cache.version} did not compile: {reason} (see {cache.log}){advice}"
        )
    return wheel


def build_environment(project: Project, torch: Torch) -> dict[str, str]:
    """Return the environment variables that mmcv's build goes by."""
    env = dict(os.environ, MMCV_WITH_OPS="1")
    # torch calls ninja by its bare name.
    env["PATH"] = joined_path(project.python.parent, env.get("PATH"))
    # mmcv's setup.py needs help on Python 3.13.
    shim = project.root / "tools" / "mmcv_build"
    env["PYTHONPATH"] = joined_path(shim, env.get("PYTHONPATH"))
    env["CXX"] = find_compiler() or "c++"
    env.setdefault("MAX_JOBS", str(len(os.sched_getaffinity(0))))
    if not torch.cuda:
        env["FORCE_CUDA"] = "0"
    elif torch.gpu and not torch.builds_cuda:
        # mmcv compiles CUDA operators wherever torch sees a GPU.
        env["CUDA_VISIBLE_DEVICES"] = ""
    return env


def joined_path(first: Path, rest: str | None) -> str:
    """Put a folder before those of a search path."""
    return os.pathsep.join([str(first), rest] if rest else [str(first)])


def install_wheel(project: Project, wheel: Path) -> Finished:
    """Install a wheel of mmcv and import its operators."""
    result = project.pip(
        *("install", "--no-deps", "--force-reinstall", str(wheel)),
        title="Installing mmcv",
    )
    return project.imports("mmcv._ext") if result.ok else result


# All of it


def set_up(project: Project) -> None:
    """Bring .venv up to date."""
    check_python()
    state = read_state(project)
    torch_wanted = wanted_torch(project, state)
    stamp = fingerprint(project, torch_wanted)
    if state.get("stamp") == stamp and project.python.exists():
        say("The environment in .venv is up to date.")
        return

    ensure_venv(project)
    mmcv_before = read_state(project).get("mmcv")
    # Until the end .venv has no stamp: it matches no requirements, not even the old.
    state = {"torch": torch_wanted} if torch_wanted != tested_torch(project) else {}
    write_state(project, state)
    write_constraints(project, torch_wanted)
    check_mmcv_obtainable(project, torch_wanted)

    install_build_tools(project)
    install_torch(project, torch_wanted)
    install_dependencies(project)
    repair_opencv(project)
    torch = probe_torch(project)
    cache = WheelCache.for_torch(project.pin("mmcv"), torch)
    if not (mmcv_before == cache.key and project.imports("mmcv._ext").ok):
        install_mmcv(project, cache, torch)
    state["mmcv"] = cache.key
    write_state(project, state)
    project.install(
        *("--no-build-isolation", "-e", ".[test,demo]"), title="Installing mmdet_lite"
    )
    result = project.imports("mmdet", "mmdet_lite")
    if not result.ok:
        raise SetupError(f"the environment does not work: {result.reason}")

    write_state(project, {**state, "stamp": stamp})
    say("The environment is ready: .venv/bin/python")


def main() -> int:
    """Set up the checkout that this file lies in."""
    try:
        set_up(Project(Path(__file__).resolve().parent.parent))
    except (SetupError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
