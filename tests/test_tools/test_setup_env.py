"""Tests of tools/setup_env.py; none installs anything or needs a network."""

import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
READ_FILES = (
    "tools/setup_env.py",
    "requirements/runtime.txt",
    "requirements/mminstall.txt",
    "requirements/tested.txt",
    "setup.cfg",
    "setup.py",
    "mmdet_lite/ops/build.py",
    "mmdet_lite/ops/csrc/operators.cpp",
)
TAG = f"cp{sys.version_info[0]}{sys.version_info[1]}"
WHEEL = f"mmcv-2.1.0-{TAG}-{TAG}-linux_{os.uname().machine}.whl"
# Reads its version as mmcv's setup.py does, and tells the variables that it sees.
SETUP_OF_MMCV = """
import os
from setuptools import Distribution, setup
class Binary(Distribution):
    has_ext_modules = lambda self: True
def get_version():
    exec("__version__ = '2.1.0'")
    return locals()["__version__"]
seen = [os.environ[name] for name in
        ("MMCV_WITH_OPS", "MAX_JOBS", "CXX", "FORCE_CUDA", "CUDA_VISIBLE_DEVICES")]
setup(name="mmcv", version=get_version(), distclass=Binary, description=repr(seen))
"""


@pytest.fixture
def script(monkeypatch, tmp_path):
    """The script of a bare checkout as a module, where all is there to compile."""
    root = tmp_path / "checkout"
    for name in (*READ_FILES, "tools/mmcv_build/sitecustomize.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", f"{sys.executable} -O1")
    for name in ("TORCH", "FORCE_CUDA", "MAX_JOBS"):
        monkeypatch.delenv(name, raising=False)
    path = root / "tools" / "setup_env.py"
    spec = importlib.util.spec_from_file_location("setup_env", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "Python.h").touch()
    headers = SimpleNamespace(get_paths=lambda: {"include": tmp_path})
    monkeypatch.setattr(module, "sysconfig", headers)
    return module


class Machine:
    """Stands in for the commands that the set-up runs, and records them."""

    def __init__(self):
        self.commands = []
        self.compiled_with = {}
        # Part of a command: what the commands with it write as they fail.
        self.failures = {}
        self.prebuilt = False
        self.broken = ()
        self.torch = "torch2.13.0+cpu"
        self.mmcv = ""

    def run(self, command, env=None, **_):
        """Take the place of ``subprocess.run``."""
        line = " ".join(map(str, command))
        self.commands.append(line)
        output = ""
        error = "".join(self.failures[part] for part in self.failures if part in line)
        if error:
            pass
        elif " -m venv " in line:
            (command[-1] / "bin").mkdir(parents=True)
            (command[-1] / "bin" / "python").touch()
        elif "CUDA_HOME" in line:
            output = f"a warning\n{self.torch}\n"
        elif "pip download" in line and self.prebuilt:
            self._put_wheel(command[command.index("-d") + 1], "prebuilt")
        elif "pip wheel" in line:
            self._put_wheel(command[command.index("-w") + 1], "compiled")
            self.compiled_with = env
        elif "uninstall" in line:
            self.mmcv = ""
        elif line.endswith(WHEEL):
            # As pip does, which goes by the version.
            self.mmcv = self.mmcv or command[-1].read_text()
        elif "opencv-python-headless" in line:
            self.failures.pop("import cv2")
        elif "import mmcv._ext" in line and self.mmcv in self.broken:
            error = "Traceback:\nImportError: undefined symbol: _Z\n"
        return SimpleNamespace(returncode=bool(error), stdout=output, stderr=error)

    def _put_wheel(self, folder, content):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / WHEEL).write_text(f"{content} for {self.torch}")

    def ran(self, part):
        """Return the commands with this part."""
        return [line for line in self.commands if part in line]


def write_wheel(path):
    """Write an empty wheel of mmcv."""
    with zipfile.ZipFile(path, "w") as wheel:
        folder = "mmcv-2.1.0.dist-info"
        metadata = "Metadata-Version: 2.1\nName: mmcv\nVersion: 2.1.0\n"
        wheel.writestr(f"{folder}/METADATA", metadata)
        wheel.writestr(f"{folder}/WHEEL", f"Wheel-Version: 1.0\nTag: {TAG}-{TAG}-any\n")
        wheel.writestr(f"{folder}/RECORD", "")


@pytest.fixture
def machine(script, monkeypatch):
    """A machine with no prebuilt wheel of mmcv in reach."""
    machine = Machine()
    monkeypatch.setattr(script.subprocess, "run", machine.run)
    return machine


class TestWhatIsMissing:
    @pytest.mark.parametrize("cxx", ["", "no-such-compiler -O1"])
    def test_compiler(self, script, machine, monkeypatch, capsys, cxx):
        monkeypatch.setattr(script, "COMPILERS", ("no-c++", "no-g++"))
        monkeypatch.setenv("CXX", cxx)
        assert script.main() == 2
        (error,) = capsys.readouterr().err.splitlines()
        assert f"no C++ compiler ({cxx or 'no-c++, no-g++'}): sudo apt inst" in error
        assert not machine.ran("pip install")

    def test_python_header(self, script, tmp_path):
        (tmp_path / "Python.h").unlink()
        with pytest.raises(script.SetupError, match=r"apt install python3\.\d+-dev"):
            script.check_build()

    def test_new_enough_python(self, script, monkeypatch):
        monkeypatch.setattr(script, "MIN_PYTHON", (99, 0))
        with pytest.raises(script.SetupError, match=r"is too old, 99\.0 or newer"):
            script.check_python()

    def test_venv(self, script, monkeypatch):
        monkeypatch.setattr(script.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(script.SetupError, match=r"apt install python3\.\d+-venv"):
            script.check_python()

    def test_real_run_with_settings_of_pip(self, script, tmp_path):
        pytest.importorskip("ensurepip")
        config = tmp_path / "pip.conf"
        config.write_text(f"[global]\nno-index = true\nfind-links = {tmp_path}\n")
        env = {"HOME": str(tmp_path), "PATH": "", "PIP_CONFIG_FILE": str(config)}

        def last_error():
            command = [sys.executable, script.__file__]
            result = subprocess.run(command, env=env, capture_output=True, text=True)
            assert result.returncode == 2
            return result.stderr.splitlines()[-1]

        assert "there is no C++ compiler" in last_error()
        write_wheel(tmp_path / WHEEL)
        assert "torch==2.13.0; if there is no wheel for Python 3." in last_error()


class TestStamp:
    def test_second_run_does_nothing(self, script, machine):
        assert script.main() == 0
        machine.commands.clear()
        assert script.main() == 0
        assert not machine.commands

    @pytest.mark.parametrize("name", READ_FILES)
    def test_changed_file_makes_it_stale(self, script, machine, name):
        script.main()
        machine.commands.clear()
        with (script.ROOT / name).open("a") as file:
            file.write("# changed\n")
        assert script.main() == 0
        assert machine.ran("pip install")
        assert not machine.ran(" -m venv ")
        assert not machine.ran("pip wheel")

    def test_other_python_makes_the_venv_anew(self, script, machine, monkeypatch):
        script.main()
        monkeypatch.setattr(script, "PYTHON_TAG", "cp399")
        machine.failures = {"import pip, sys": "other Python", " -m venv": "no venv"}
        assert script.main() == 2
        assert len(machine.ran(" -m venv --clear ")) == 2

    def test_failed_run_leaves_no_stamp(self, script, machine, monkeypatch):
        script.main()
        monkeypatch.setenv("TORCH", "torch==2.9.1")
        machine.failures = {" torch==2.9.1": "No matching distribution"}
        assert script.main() == 2
        machine.commands.clear()
        monkeypatch.setenv("TORCH", "torch==2.13.0")
        assert script.main() == 0
        assert machine.ran(" torch==2.13.0")

    def test_chosen_torch_is_remembered(self, script, machine, monkeypatch):
        monkeypatch.setenv("TORCH", "torch==2.9.1")
        script.main()
        constraints = script.CONSTRAINTS.read_text().splitlines()
        assert "torch==2.9.1" in constraints
        assert "mmcv==2.1.0" in constraints
        # Each torch needs its own Triton.
        assert not [line for line in constraints if line.startswith("triton")]
        assert "torch==2.13.0" not in constraints
        monkeypatch.delenv("TORCH")
        machine.commands.clear()
        assert script.main() == 0
        assert not machine.commands

    def test_torch_must_be_a_requirement(self, script, monkeypatch):
        monkeypatch.setenv("TORCH", "2.9.1")
        with pytest.raises(script.SetupError, match="TORCH must be a requirement"):
            script.chosen_torch()


class TestMmcv:
    def test_prebuilt_wheel_needs_no_compiler(self, script, machine, monkeypatch):
        monkeypatch.setenv("CXX", "no-such-compiler")
        machine.prebuilt = True
        assert script.main() == 0
        assert machine.mmcv == "prebuilt for torch2.13.0+cpu"

    def test_cached_wheel_needs_no_compiler(self, script, machine, monkeypatch):
        script.main()
        shutil.rmtree(script.VENV)
        monkeypatch.setenv("CXX", "no-such-compiler")
        assert script.main() == 0
        assert machine.mmcv == "compiled for torch2.13.0+cpu"

    def test_broken_wheel_is_replaced_by_a_compiled_one(self, script, machine):
        machine.prebuilt = True
        machine.broken = ["prebuilt for torch2.13.0+cpu"]
        assert script.main() == 0
        assert machine.mmcv == "compiled for torch2.13.0+cpu"

    def test_nothing_works(self, script, machine, capsys):
        machine.broken = ["compiled for torch2.13.0+cpu"]
        assert script.main() == 2
        assert "does not work with this torch: ImportError" in capsys.readouterr().err
        assert len(machine.ran("pip wheel")) == 1
        assert not list(script.WHEELS.glob("*/*.whl"))

    def test_each_torch_has_its_own_wheel(self, script, machine, monkeypatch):
        for torch in ("2.13.0", "2.9.1", "2.13.0"):
            monkeypatch.setenv("TORCH", f"torch=={torch}")
            machine.torch = f"torch{torch}"
            assert script.main() == 0
            assert machine.mmcv == f"compiled for torch{torch}"
        builds = machine.ran("pip wheel")
        assert len(builds) == 2
        # pip would take what it built for the other torch.
        assert all("--no-cache-dir" in build for build in builds)

    def test_cuda_operators(self, script, machine, monkeypatch):
        monkeypatch.setenv("FORCE_CUDA", "1")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
        machine.torch = "torch2.13.0+cu130-cuda-ops"
        assert script.main() == 0
        env = machine.compiled_with
        assert (env["FORCE_CUDA"], env["CUDA_VISIBLE_DEVICES"]) == ("1", "3")
        # torch calls ninja by its bare name.
        assert env["PATH"].startswith(str(script.VENV / "bin"))
        assert int(env["MAX_JOBS"]) >= 1

    def test_real_build_of_a_source_package(self, script, monkeypatch, tmp_path):
        pytest.importorskip("setuptools")
        with tarfile.open(tmp_path / "mmcv-2.1.0.tar.gz", "w:gz") as archive:
            entry = tarfile.TarInfo("mmcv-2.1.0/setup.py")
            entry.size = len(SETUP_OF_MMCV)
            archive.addfile(entry, io.BytesIO(SETUP_OF_MMCV.encode()))
        # Where it is compiled, the wheel in reach was found not to work.
        write_wheel(tmp_path / WHEEL)
        settings = {"PIP_FIND_LINKS": str(tmp_path), "PIP_NO_INDEX": "1"}
        for name, value in {**settings, "MAX_JOBS": "7", "FORCE_CUDA": "1"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(script, "PYTHON", Path(sys.executable))
        script.compile_mmcv(tmp_path / "out")
        (wheel,) = script.mmcv_wheels(tmp_path / "out")
        metadata = zipfile.ZipFile(wheel).read("mmcv-2.1.0.dist-info/METADATA")
        # The user's MAX_JOBS and CXX; no CUDA, as this torch gave no reason for it.
        assert repr(["1", "7", os.environ["CXX"], "0", ""]) in metadata.decode()


class TestOpenCV:
    def test_headless_one_where_a_library_is_missing(self, script, machine):
        error = "ImportError: libGL.so.1: cannot open shared object file: No such file"
        machine.failures = {"import cv2": error}
        assert script.main() == 0
        (install,) = machine.ran("opencv-python-headless==5.0.0.93")
        assert "--force-reinstall --no-deps" in install

    def test_other_failure_is_reported(self, script, machine, capsys):
        machine.failures = {"import cv2": "ImportError: numpy is wrong\n"}
        assert script.main() == 2
        assert "does not import: ImportError: numpy" in capsys.readouterr().err
        assert not machine.ran("headless")
