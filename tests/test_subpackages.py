"""The parts of the package build on one another in one direction."""

import ast
from graphlib import TopologicalSorter

from repository_root import REPOSITORY

PACKAGE = REPOSITORY / "mmdet_lite"


def parts_imported_by(file):
    """Subpackages and modules of the package, also those imported in a function."""
    folders = file.relative_to(PACKAGE).parent.parts
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        names = node.module.split(".") if node.module else []
        if node.level:
            names = [*folders[: len(folders) + 1 - node.level], *names]
        elif names[0] == PACKAGE.name:
            names = names[1:]
        else:
            continue
        yield from names[:1] or (alias.name for alias in node.names)


def test_no_subpackages_need_one_another():
    needed = {}
    for file in PACKAGE.rglob("*.py"):
        part = file.relative_to(PACKAGE).with_suffix("").parts[0]
        # A command is no part that others build on.
        if not part.startswith((".", "__")) and file.stem != "__main__":
            others = needed.setdefault(part, set())
            others.update(name for name in parts_imported_by(file) if name != part)
    assert {"ops", "errors"} <= needed["layers"]
    # Raises CycleError, which names them.
    TopologicalSorter(needed).prepare()
