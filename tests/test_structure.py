"""The parts of the package use one another in one direction."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

from repository_root import REPOSITORY

PACKAGE = REPOSITORY / "mmdet_lite"
PARTS = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
# What a part may import of the others. Modules beside them, as errors.py, are for all
# and import no part, except those named here. Commands, __main__.py, may import any.
ALLOWED = {
    "accelerate": {"ops"},
    "backbones": {"checkpoint"},
    "benchmark": {"checkpoint", "deployment", "engine", "flops", "ops", "runtime"},
    "checkpoint": {"layers"},
    "cli": {"checkpoint", "datasets", "deployment", "runtime"},
    "deployment": {
        *("checkpoint", "datasets", "dense_heads", "detectors", "engine", "flops"),
        "ops",
    },
    "detectors": {"checkpoint", "layers"},
    "engine": {"checkpoint", "runtime"},
    "experiments": {
        *("benchmark", "checkpoint", "datasets", "engine", "flops", "visualization"),
    },
    "flops": {"layers", "ops"},
    "inference": {"checkpoint", "datasets", "runtime"},
    "layers": {"ops"},
    "runtime": {"layers", "ops"},
    "visualization": {"datasets", "layers", "ops"},
}


def parts_used_by(file: Path) -> Iterator[str]:
    """Parts of the package that a file imports, its own among them."""
    package = ".".join(file.relative_to(REPOSITORY).parent.parts)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        module = ""
        if isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package) + "."
        elif not isinstance(node, ast.Import):
            continue
        for alias in node.names:
            top, *inside = f"{module}{alias.name}".split(".")
            if top == "mmdet_lite" and inside and inside[0] in PARTS:
                yield inside[0]


def test_parts_use_only_what_they_may():
    forbidden = []
    for file in sorted(PACKAGE.rglob("*.py")):
        part = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part == "__init__" or file.name == "__main__.py":
            continue
        for used in sorted({*parts_used_by(file)} - {part} - ALLOWED.get(part, set())):
            forbidden.append(f"{file.relative_to(REPOSITORY)} uses {used}")
    assert forbidden == []


def test_no_part_is_used_by_what_it_uses():
    # Raises CycleError, which names the parts, where there is no order.
    assert set(TopologicalSorter(ALLOWED).static_order()) >= set(ALLOWED)
