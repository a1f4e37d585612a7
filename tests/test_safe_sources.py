"""No code runs from a shell or from data."""

import ast

import pytest
from repository_root import REPOSITORY

SOURCES = sorted(
    path.relative_to(REPOSITORY)
    for folder in ("mmdet_lite", "tools", ".dev_scripts")
    for path in (REPOSITORY / folder).rglob("*.py")
)
# Modules that read code of any kind, or that start a shell.
READERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
SHELLS = {
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    "asyncio.create_subprocess_shell",
}
YAML = {"yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"}
LOADERS = {"torch.load", "torch.hub.load", "torch.hub.load_state_dict_from_url"}


def faults_of(source: str, may_load: bool = False) -> list[str]:
    """What a source must not do: names of modules and calls, in their order."""
    tree = ast.parse(source)
    # What a name of this file stands for, however it was imported.
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name] = alias.name
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    faults = [name for name in names.values() if name.split(".")[0] in READERS]
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        first, dot, rest = ast.unparse(call.func).partition(".")
        called = names.get(first, first) + dot + rest
        forbidden = {"eval", "exec", "builtins.eval", "builtins.exec"} | SHELLS | YAML
        if not may_load:
            forbidden |= LOADERS
        if called in forbidden:
            faults.append(called)
        for keyword in call.keywords:
            value = ast.unparse(keyword.value)
            if keyword.arg == "shell" and value != "False":
                faults.append(f"{called}(shell={value})")
            if keyword.arg == "allow_pickle" and value != "False":
                faults.append(f"{called}(allow_pickle={value})")
            if keyword.arg == "weights_only" and value == "False":
                faults.append(f"{called}(weights_only={value})")
    return faults


def test_nothing_runs_from_a_shell_or_from_data():
    faults = {
        str(path): faults_of(
            (REPOSITORY / path).read_text(),
            may_load=path.parts[:2] == ("mmdet_lite", "checkpoint"),
        )
        for path in SOURCES
    }
    assert len(faults) > 100
    assert not {path: found for path, found in faults.items() if found}


@pytest.mark.parametrize(
    "source",
    [
        "import subprocess as s; s.run('ls', shell=True)",
        "from os import system; system('ls')",
        "eval(text)",
        "import builtins; builtins.exec(text)",
        "import pickle; pickle.load(file)",
        "from pickle import loads as read",
        "import torch; torch.load(path)",
        "from torch import load; load(path)",
        "import yaml; yaml.load(file)",
        "import numpy; numpy.load(path, allow_pickle=True)",
    ],
)
def test_what_is_looked_for_is_found(source):
    assert faults_of(source)


def test_checkpoints_are_read_in_one_place_and_protected():
    assert not faults_of("import torch; torch.load(path)", may_load=True)
    assert faults_of("import torch; torch.load(p, weights_only=False)", may_load=True)
    assert not faults_of("model.eval(); compiled.exec_")
