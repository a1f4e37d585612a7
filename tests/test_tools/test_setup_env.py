"""Tests of tools/setup_env.py; none installs or compiles anything."""

import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "setup_env.py"
READ_FILES = (
    "requirements.txt",
    "requirements/tested.txt",
    "setup.cfg",
    "setup.py",
    "mmdet_lite/ops/csrc/operators.cpp",
)
WHEEL = f"mmcv-2.1.0-cp311-cp311-linux_{os.uname().machine}.whl"
NO_TORCH = """\
ERROR: Could not find a version that satisfies the requirement torch==2.13.0 (from \
versions: 1.4.0, 1.5.0)
ERROR: No matching distribution found for torch==2.13.0
"""
NO_NETWORK = """\
WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, \
status=None)) after connection broken by 'NewConnectionError(...)': /simple/torch/
ERROR: Could not find a version that satisfies the requirement torch==2.13.0 (from \
versions: none)
ERROR: No matching distribution found for torch==2.13.0
"""
NO_LIBRARY = """\
Traceback (most recent call last):
ImportError: libGL.so.1: cannot open shared object file: No such file or directory
"""


@pytest.fixture
def project_root(tmp_path):
    """A checkout with nothing but the files that the set-up reads."""
    root = tmp_path / "checkout"
    (root / "tools").mkdir(parents=True)
    shutil.copy(SCRIPT, root / "tools")
    for name in READ_FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    return root


@pytest.fixture
def script(monkeypatch, tmp_path, project_root):
    """The checkout's script as a module, with an empty wheel cache."""
    path = project_root / "tools" / "setup_env.py"
    spec = importlib.util.spec_from_file_location("setup_env", path)
    module = importlib.util.module_from_spec(spec)
    # dataclasses look the module up there.
    monkeypatch.setitem(sys.modules, "setup_env", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PYTHON_NAME", "3.11")
    monkeypatch.setattr(module, "PYTHON_TAG", "cp311")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("TORCH", "CXX", "FORCE_CUDA", "MAX_JOBS"):
        monkeypatch.delenv(name, raising=False)
    return module


class Machine:
    """Stands in for the commands that the set-up runs, and records them."""

    def __init__(self, script, root, cache):
        self.script = script
        self.root = root
        self.cache = cache / "mmdet_lite" / "wheels"
        self.commands = []
        self.environments = []
        # Part of a command: what the commands with it write as they fail.
        self.failures = {}
        self.prebuilt_wheel = False
        self.broken_wheels = set()
        self.torch = {"version": "2.13.0+cpu", "cuda": False}
        self._mmcv = None

    def run(self, command, title=None, log=None, env=None, cwd=None):
        """Do what the script's own ``run`` is asked for, without doing it."""
        line = " ".join(command)
        self.commands.append(line)
        self.environments.append(env)
        for part, output in self.failures.items():
            if part in line:
                return self.script.Finished(1, output)
        if "import mmcv._ext" in line and self._mmcv in self.broken_wheels:
            return self.script.Finished(1, "ImportError: undefined symbol: _Z\n")
        if "pip download" in line and not self.prebuilt_wheel:
            return self.script.Finished(1, "ERROR: No matching distribution found\n")
        return self.script.Finished(0, self._succeed(command, line))

    def _succeed(self, command, line):
        if " -m venv " in line:
            self._make_venv(Path(command[-1]))
        elif line.endswith("pip --version"):
            return "pip 23.0.1 from somewhere\n"
        elif "CUDA_HOME" in line:
            answer = {"gpu": False, "toolkit": False, **self.torch}
            return f"W1 a warning\n{json.dumps(answer)}\n"
        elif "version('opencv-python')" in line:
            return "5.0.0.93\n"
        elif "pip download" in line:
            Path(command[command.index("-d") + 1], WHEEL).write_text("prebuilt")
        elif "pip wheel" in line:
            Path(command[command.index("-w") + 1], WHEEL).write_text("compiled")
        elif WHEEL in line:
            self._mmcv = Path(command[-1]).read_text()
        return ""

    def _make_venv(self, folder):
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").touch()
        (folder / "pyvenv.cfg").write_text("version = 3.11.2\n")

    def ran(self, part):
        """Return the commands with this part."""
        return [line for line in self.commands if part in line]

    def kept_wheels(self):
        """Return what the wheels in the cache are, by folder."""
        wheels = self.cache.glob("*/*.whl")
        return {wheel.parent.name: wheel.read_text() for wheel in wheels}


@pytest.fixture
def real_obstacle(script):
    """The script's own look at the machine."""
    return script.build_obstacle


@pytest.fixture
def machine(script, real_obstacle, project_root, tmp_path, monkeypatch):
    """A machine that can compile, with no prebuilt wheel of mmcv in reach."""
    machine = Machine(script, project_root, tmp_path / "cache")
    monkeypatch.setattr(script, "run", machine.run)
    monkeypatch.setattr(script, "build_obstacle", lambda: None)
    return machine


@pytest.fixture
def only_error(script, capsys):
    """A function that runs the set-up, which fails, and returns its one line."""

    def run_and_read():
        assert script.main() == 1
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        return lines[0]

    return run_and_read


class TestWhatIsMissing:
    def test_compiler(
        self, script, machine, real_obstacle, monkeypatch, tmp_path, only_error
    ):
        monkeypatch.setattr(script, "build_obstacle", real_obstacle)
        monkeypatch.setenv("PATH", str(tmp_path))
        error = only_error()
        assert "no C++ compiler" in error
        assert "apt install build-essential" in error
        assert not machine.ran("pip install")

    def test_compiler_that_cxx_names(
        self, script, machine, real_obstacle, monkeypatch, only_error
    ):
        monkeypatch.setattr(script, "build_obstacle", real_obstacle)
        monkeypatch.setenv("CXX", "no-such-compiler -O1")
        assert "CXX names, no-such-compiler" in only_error()

    def test_python_header(
        self, script, machine, real_obstacle, monkeypatch, tmp_path, only_error
    ):
        monkeypatch.setattr(script, "build_obstacle", real_obstacle)
        monkeypatch.setattr(script, "find_compiler", lambda: "c++")
        monkeypatch.setattr(
            script.sysconfig, "get_paths", lambda: {"include": tmp_path}
        )
        assert "apt install python3.11-dev" in only_error()

    def test_compiler_is_not_needed_with_a_prebuilt_wheel(
        self, script, machine, monkeypatch
    ):
        monkeypatch.setattr(script, "build_obstacle", lambda: "cannot compile")
        machine.prebuilt_wheel = True
        assert script.main() == 0

    def test_compiler_is_not_needed_with_a_cached_wheel(
        self, script, machine, monkeypatch
    ):
        assert script.main() == 0
        shutil.rmtree(machine.root / ".venv")
        monkeypatch.setattr(script, "build_obstacle", lambda: "cannot compile")
        assert script.main() == 0

    def test_compiler_is_missed_when_the_prebuilt_wheel_is_broken(
        self, script, machine, monkeypatch, only_error
    ):
        monkeypatch.setattr(script, "build_obstacle", lambda: "cannot compile")
        machine.prebuilt_wheel = True
        machine.broken_wheels = {"prebuilt"}
        assert only_error() == "error: cannot compile"

    def test_new_enough_python(self, script, machine, monkeypatch, only_error):
        monkeypatch.setattr(script, "MIN_PYTHON", (99, 0))
        assert "Python 3.11 is too old, 99.0" in only_error()
        assert not machine.commands

    def test_venv(self, script, machine, monkeypatch, only_error):
        monkeypatch.setattr(script.importlib.util, "find_spec", lambda name: None)
        assert "apt install python3.11-venv" in only_error()
        assert not machine.commands

    def test_torch_for_this_python(self, machine, only_error):
        machine.failures = {"pip install torch==": NO_TORCH}
        error = only_error()
        assert "torch==2.13.0 has no wheel for Python 3.11" in error
        assert "PYTHON=" in error

    def test_network(self, machine, only_error):
        machine.failures = {"pip install torch==": NO_NETWORK}
        assert "cannot reach its package index" in only_error()

    def test_real_run_without_a_compiler(self, project_root, tmp_path):
        pytest.importorskip("ensurepip")
        empty = tmp_path / "empty"
        empty.mkdir()
        env = {
            "HOME": str(tmp_path),
            "PATH": str(empty),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(empty),
        }
        command = [sys.executable, str(project_root / "tools" / "setup_env.py")]
        result = subprocess.run(command, env=env, capture_output=True, text=True)
        assert result.returncode == 1
        assert len(result.stderr.splitlines()) == 1
        assert "no C++ compiler" in result.stderr


class TestStamp:
    def test_second_run_does_nothing(self, script, machine):
        assert script.main() == 0
        machine.commands.clear()
        assert script.main() == 0
        assert not machine.commands

    @pytest.mark.parametrize("name", [*READ_FILES, "tools/setup_env.py"])
    def test_changed_file_makes_it_stale(self, script, machine, name):
        script.main()
        machine.commands.clear()
        with (machine.root / name).open("a") as file:
            file.write("# changed\n")
        assert script.main() == 0
        assert machine.ran("pip install")

    def test_stale_run_keeps_the_venv_and_mmcv(self, script, machine):
        script.main()
        machine.commands.clear()
        with (machine.root / "setup.cfg").open("a") as file:
            file.write("# changed\n")
        assert script.main() == 0
        assert not machine.ran(" -m venv ")
        assert not machine.ran(WHEEL)

    def test_other_python_makes_the_venv_anew(self, script, machine, monkeypatch):
        script.main()
        machine.commands.clear()
        shutil.rmtree(machine.root / ".venv" / "bin")
        monkeypatch.setattr(script, "PYTHON_NAME", "3.12")
        monkeypatch.setattr(script, "PYTHON_TAG", "cp312")
        script.main()
        assert machine.ran(" -m venv --clear ")

    def test_failed_run_leaves_no_stamp(self, script, machine, monkeypatch):
        script.main()
        monkeypatch.setenv("TORCH", "torch==2.9.1")
        machine.failures = {"pip install torch==2.9.1": NO_TORCH}
        assert script.main() == 1
        machine.failures = {}
        machine.commands.clear()
        monkeypatch.setenv("TORCH", "torch==2.13.0")
        assert script.main() == 0
        assert machine.ran("pip install torch==2.13.0")

    def test_chosen_torch_is_remembered(self, script, machine, monkeypatch):
        monkeypatch.setenv("TORCH", "torch==2.9.1")
        script.main()
        constraints = (machine.root / ".venv" / "constraints.txt").read_text()
        assert "torch==2.9.1\n" in constraints
        assert "torch==2.13.0" not in constraints
        # Each torch needs its own.
        assert "triton==" not in constraints
        assert "mmcv==" in constraints
        monkeypatch.delenv("TORCH")
        machine.commands.clear()
        assert script.main() == 0
        assert not machine.commands

    def test_torch_must_be_a_requirement(self, machine, monkeypatch, only_error):
        monkeypatch.setenv("TORCH", "2.9.1")
        assert "TORCH must be a requirement" in only_error()


class TestMmcv:
    def test_is_compiled_when_there_is_no_wheel(self, script, machine):
        assert script.main() == 0
        assert machine.kept_wheels() == {"cp311-torch2.13.0+cpu": "compiled"}

    def test_prebuilt_wheel_saves_compiling(self, script, machine):
        machine.prebuilt_wheel = True
        assert script.main() == 0
        assert not machine.ran("pip wheel")
        assert machine.kept_wheels() == {"cp311-torch2.13.0+cpu": "prebuilt"}

    def test_broken_wheel_is_replaced_by_a_compiled_one(self, script, machine):
        machine.prebuilt_wheel = True
        machine.broken_wheels = {"prebuilt"}
        assert script.main() == 0
        (build,) = machine.ran("pip wheel")
        assert "--no-binary mmcv" in build
        assert "--no-cache-dir" in build
        assert "--no-build-isolation" in build
        assert machine.kept_wheels() == {"cp311-torch2.13.0+cpu": "compiled"}

    def test_nothing_works(self, machine, only_error):
        machine.broken_wheels = {"compiled"}
        error = only_error()
        assert "undefined symbol" in error
        assert str(machine.cache / "cp311-torch2.13.0+cpu" / "build.log") in error
        assert not machine.kept_wheels()

    def test_failed_build_tells_the_cause(self, machine, only_error):
        output = (
            "a.cpp:1:1: fatal error: Killed\n  error: ...\nERROR: Failed to build\n"
        )
        machine.failures = {"pip wheel": output}
        error = only_error()
        assert "did not compile: error: Killed" in error
        assert "build.log" in error

    def test_another_torch_takes_another_wheel(self, script, machine, monkeypatch):
        script.main()
        machine.torch = {"version": "2.9.1+cpu", "cuda": False}
        monkeypatch.setenv("TORCH", "torch==2.9.1")
        machine.commands.clear()
        assert script.main() == 0
        assert machine.ran("pip wheel")
        assert len(machine.kept_wheels()) == 2

    def test_cuda_operators_have_their_own_cache(self, script, machine):
        machine.torch |= {"cuda": True, "gpu": True, "toolkit": True}
        script.main()
        assert list(machine.kept_wheels()) == ["cp311-torch2.13.0+cpu-cuda-ops"]


class TestBuildEnvironment:
    def build_env(self, script, machine):
        assert script.main() == 0
        return next(env for env in machine.environments if env)

    def test_without_cuda(self, script, machine, monkeypatch):
        monkeypatch.setenv("FORCE_CUDA", "1")
        env = self.build_env(script, machine)
        assert env["MMCV_WITH_OPS"] == "1"
        assert env["FORCE_CUDA"] == "0"
        assert int(env["MAX_JOBS"]) >= 1
        assert env["PATH"].startswith(str(machine.root / ".venv" / "bin"))

    def test_user_settings(self, script, machine, monkeypatch):
        monkeypatch.setenv("MAX_JOBS", "7")
        monkeypatch.setenv("FORCE_CUDA", "1")
        monkeypatch.setenv("CXX", f"{sys.executable} -O1")
        machine.torch |= {"cuda": True, "toolkit": True}
        env = self.build_env(script, machine)
        assert env["MAX_JOBS"] == "7"
        assert env["FORCE_CUDA"] == "1"
        assert env["CXX"] == f"{sys.executable} -O1"

    def test_gpu_without_nvcc(self, script, machine):
        machine.torch |= {"cuda": True, "gpu": True}
        assert self.build_env(script, machine)["CUDA_VISIBLE_DEVICES"] == ""

    def test_pip_settings_pass_through(self, script, machine, monkeypatch):
        monkeypatch.setenv("PIP_FIND_LINKS", "/somewhere /else")
        script.main()
        seen = [env or os.environ for env in machine.environments]
        assert {env["PIP_FIND_LINKS"] for env in seen} == {"/somewhere /else"}
        assert not machine.ran("--find-links")
        assert not machine.ran("index")

    @pytest.mark.skipif(sys.version_info < (3, 13), reason="needed from Python 3.13")
    def test_setup_of_mmcv_finds_its_version(self, tmp_path):
        setup = tmp_path / "setup.py"
        setup.write_text(
            "def get_version():\n"
            "    exec('__version__ = \"2.1.0\"')\n"
            "    return locals()['__version__']\n"
            "print(get_version())\n"
        )
        env = dict(os.environ, PYTHONPATH=str(ROOT / "tools" / "mmcv_build"))
        command = [sys.executable, str(setup)]
        output = subprocess.run(command, env=env, capture_output=True, text=True).stdout
        assert output == "2.1.0\n"


class TestOpenCV:
    def test_headless_one_where_a_library_is_missing(self, script, machine):
        run = machine.run

        def run_until_replaced(command, *arguments, **options):
            result = run(command, *arguments, **options)
            if "opencv-python-headless" in " ".join(command):
                machine.failures = {}
            return result

        script.run = run_until_replaced
        machine.failures = {"import cv2": NO_LIBRARY}
        assert script.main() == 0
        (install,) = machine.ran("opencv-python-headless")
        assert "opencv-python-headless==5.0.0.93" in install
        assert "--force-reinstall --no-deps" in install

    def test_other_failure_is_reported(self, machine, only_error):
        machine.failures = {"import cv2": "ImportError: numpy is wrong\n"}
        assert "OpenCV does not import: ImportError: numpy is wrong" in only_error()
        assert not machine.ran("headless")


class TestProgress:
    @pytest.mark.parametrize(
        ("line", "step"),
        [
            ("  [12/77] c++ -MMD -MF x.o.d", "compiled 12 of 77 files, 15 %"),
            ("  Downloading torch-2.whl (1 MB)", "Downloading torch-2.whl (1 MB)"),
            ("Installing collected packages: a, b", "Installing collected packages"),
            ("  warning: [12/77]", None),
        ],
    )
    def test_steps(self, script, line, step):
        assert script.describe_step(line) == step

    def test_line_tells_the_last_step(self, script):
        stream = io.StringIO()
        progress = script.Progress("Compiling", stream)
        progress.saw("  [1/4] c++ a.cpp")
        progress.saw("  a.cpp: warning")
        progress.show()
        assert stream.getvalue() == "  Compiling: compiled 1 of 4 files, 25 % (0:00)\n"

    def test_output_goes_to_the_log(self, script, tmp_path, capsys):
        log = tmp_path / "log"
        code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
        result = script.run([sys.executable, "-c", code], title="Trying", log=log)
        assert result.returncode == 3
        assert sorted(result.output.split()) == ["err", "out"]
        assert sorted(log.read_text().splitlines()[1:]) == ["err", "out"]
        assert capsys.readouterr().out == "Trying\n"
