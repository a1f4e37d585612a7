"""The machine and the software that a measurement belongs to."""

import os
import platform
import re
import subprocess
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from ..errors import ConfigError
from ..runtime import has_bfloat16_instructions

_PACKAGE = Path(__file__).parents[1]
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")
"""Variables that keep PyTorch and its libraries from instructions that there are."""


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Machine, threads and versions that a measurement belongs to.

    Args:
        device: what was measured on.

    Returns:
        dict: ``processor``, ``cores``, ``instruction_set``, ``bfloat16_instructions``,
        ``limits`` (environment variables that keep libraries from some of them),
        ``caches`` (bytes of ``L2`` and ``L3``, empty where the system does not tell),
        ``device``, ``threads``, ``python``, ``versions``, and ``commit`` of the
        checkout that the package lies in, with ``-dirty`` after it where files outside
        of ``docs/`` differ from it; None where it lies in none.
    """
    return {
        "processor": _processor_name(),
        "cores": os.cpu_count(),
        # Machines of one processor name differ in these, and in speed by as much as
        # two.
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "bfloat16_instructions": has_bfloat16_instructions(),
        "limits": {name: os.environ[name] for name in _LIMITS if name in os.environ},
        "caches": cache_sizes(_CACHES),
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else "cpu",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": versions_of(["torch", "mmcv", "mmengine", "mmdet"]),
        "commit": _commit(),
    }


def versions_of(modules: Iterable[str]) -> dict[str, str]:
    """Versions of modules by name; their packages may have several names."""
    return {name: str(import_module(name).__version__) for name in modules}


def machine_slug(environment: dict[str, Any]) -> str:
    """Name the machine for a file's name, as in ``amd-epyc-avx512bf16``.

    Args:
        environment: see :func:`describe_environment`.

    Returns:
        str: the GPU, or the processor with its instruction set, and ``bf16`` where it
        multiplies in bfloat16; lower case, words joined by hyphens.
    """
    if environment["device"] != "cpu":
        return _slug(environment["device"])
    # "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz" is an intel-xeon-platinum-8481c.
    processor = re.sub(
        r"\((r|tm)\)|\b(cpu|processor|\d+-core)\b|@.*",
        " ",
        environment["processor"],
        flags=re.IGNORECASE,
    )
    bfloat16 = "bf16" if environment["bfloat16_instructions"] else ""
    return f"{_slug(processor)}-{_slug(environment['instruction_set'])}{bfloat16}"


def require_commit(path: str | Path, repository: str | Path) -> None:
    """Refuse to keep a measurement under ``docs/`` that belongs to no commit.

    Changes under ``docs/`` itself, such as another measurement, do not matter: nothing
    there runs.

    Args:
        path: file to be written.
        repository: root of the checkout that was measured.

    Raises:
        ConfigError: the file lies under the repository's ``docs/``, and other tracked
            files differ from the commit, or there is no commit.
    """
    docs = Path(repository).resolve() / "docs"
    if not Path(path).resolve().is_relative_to(docs):
        return
    changes = _uncommitted(repository)
    if changes is None:
        why = f"{repository} is no git checkout"
    elif changes:
        more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
        why = f"not committed: {', '.join(changes[:3])}{more}"
    else:
        return
    raise ConfigError(
        f"{path} would not tell what was measured ({why}): commit first, or write "
        "outside of docs/"
    )


def cache_sizes(folder: Path) -> dict[str, int]:
    """Bytes of a core's ``L2`` and ``L3`` caches, those that Linux tells.

    Args:
        folder: ``cache`` of a core in ``/sys/devices/system/cpu``.
    """
    sizes = {}
    try:
        for index in sorted(folder.glob("index*")):
            level = (index / "level").read_text().strip()
            if level in ("2", "3"):
                kibibytes = (index / "size").read_text().strip().removesuffix("K")
                sizes[f"L{level}"] = int(kibibytes) * 1024
    except OSError:
        return {}
    return sizes


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    # An environment inside of somebody's checkout is not that checkout.
    if _git(_PACKAGE, "ls-files", "--error-unmatch", __file__) is None:
        return None
    commit = _git(_PACKAGE, "describe", "--always")
    return f"{commit}-dirty" if commit and _uncommitted(_PACKAGE) else commit


def _uncommitted(folder: str | Path) -> list[str] | None:
    """Tracked files outside of docs/ that are not as committed; None if no checkout."""
    status = _git(
        folder,
        *("status", "--porcelain", "--untracked-files=no"),
        *("--", ":/", ":(top,exclude)docs"),
    )
    return None if status is None else [line[3:] for line in status.splitlines()]


def _git(folder: str | Path, *arguments: str) -> str | None:
    """What git prints, or None where it fails or is not there."""
    try:
        result = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return result.stdout.rstrip() if result.returncode == 0 else None
