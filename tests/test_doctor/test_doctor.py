"""The doctor's word on installations that work, and on those that do not."""

import os
import subprocess
import sys

import pytest
from repository_root import REPOSITORY

from mmdet_lite.doctor.problems import TORCH

OPENMMLAB = {
    **{"torch": "2.13.0", "numpy": "2.4.6", "opencv-python": "5.0.0.93"},
    **{"pycocotools": "2.0.11", "setuptools": "80.10.2"},
    **{"mmengine": "0.10.7", "mmcv": "2.1.0", "mmdet": "3.3.0"},
}
ONEDL = {
    **{name: version for name, version in OPENMMLAB.items() if name[:2] != "mm"},
    **{"numpy": "1.26.4", "opencv-python": "4.11.0.86", "onedl-mmengine": "0.10.12"},
    **{"onedl-mmcv": "2.3.6", "onedl-mmdetection": "3.5.1"},
}
MODULES = ("torch", "numpy", "cv2", "pycocotools", "mmengine", "mmcv", "mmdet")


@pytest.fixture
def diagnose(tmp_path):
    """Function that asks the doctor where only made-up packages are installed.

    It takes their versions, modules that are not there, and code of modules by file.
    """

    def run(versions, missing=(), code=()):
        for name, version in versions.items():
            folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
            folder.mkdir()
            (folder / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
        files = {f"{name}/__init__.py": "" for name in MODULES if name not in missing}
        files |= {"pycocotools/mask.py": "", "mmcv/_ext.py": ""}
        files.update(code)
        for name, content in files.items():
            if content is not None and name.partition("/")[0] not in missing:
                (tmp_path / name).parent.mkdir(exist_ok=True)
                (tmp_path / name).write_text(content)
        # -S: what is really installed is out of sight.
        result = subprocess.run(
            [sys.executable, "-S", "-m", "mmdet_lite.doctor"],
            env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{tmp_path}"},
            capture_output=True,
            text=True,
        )
        assert result.stderr == ""
        assert result.returncode == 1
        return result.stdout

    return run


def without(versions, *names):
    return {name: versions[name] for name in versions if name not in names}


def test_an_installation_that_works_passes():
    result = subprocess.run(
        [sys.executable, "-m", "mmdet_lite.doctor"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "nothing is wrong" in result.stdout
    assert "reference  float16" in result.stdout


def test_what_is_installed_is_listed(diagnose):
    said = diagnose(without(OPENMMLAB, "mmcv"), missing=["mmcv"])
    rows = dict(line.split()[:2] for line in said.splitlines() if len(line.split()) > 1)
    assert rows["python"] == sys.version.split()[0]
    assert rows["opencv-python"] == "5.0.0.93"
    assert rows["setuptools"] == "80.10.2"
    assert "mmcv" not in rows


def test_a_missing_mmcv(diagnose):
    said = diagnose(without(OPENMMLAB, "mmcv"), missing=["mmcv"])
    assert "wrong: mmcv is missing" in said
    assert '--no-build-isolation "mmcv>=2.1,<2.2"' in said


def test_everything_is_missing(diagnose):
    said = diagnose({}, missing=MODULES)
    assert 'run:   pip install "torch>=2.6,<2.14"' in said
    assert "wrong: mmengine and mmcv and mmdet are missing" in said


def test_an_mmcv_that_mmdet_refuses(diagnose):
    said = diagnose(
        {**OPENMMLAB, "mmcv": "2.2.0"},
        code={
            "mmdet/__init__.py": "raise AssertionError('MMCV==2.2.0 is incompatible')"
        },
    )
    assert "fails: AssertionError: MMCV==2.2.0 is incompatible" in said
    assert "wrong: mmcv 2.2.0 does not fit, mmcv>=2.1,<2.2 is needed" in said
    assert said.count("wrong:") == 1


def test_families_that_are_mixed(diagnose):
    said = diagnose({**without(OPENMMLAB, "mmcv"), "onedl-mmcv": "2.3.6"})
    assert "mixed: mmengine, onedl-mmcv, mmdet" in said
    assert "pip uninstall -y mmengine onedl-mmcv mmdet && pip install" in said


def test_two_packages_of_the_same_files(diagnose):
    said = diagnose({**OPENMMLAB, "mmcv-lite": "2.1.0"})
    assert "mmcv and mmcv-lite are both installed" in said
    assert "pip uninstall -y mmcv mmcv-lite && " in said


def test_an_mmcv_without_operators(diagnose):
    versions = {**without(OPENMMLAB, "mmcv"), "mmcv-lite": "2.1.0"}
    said = diagnose(versions, code={"mmcv/_ext.py": None})
    assert "wrong: mmcv-lite is installed without its compiled operators" in said
    assert "pip uninstall -y mmcv-lite && " in said


@pytest.mark.parametrize(
    ("versions", "command"),
    [(OPENMMLAB, '"mmcv>=2.1,<2.2"'), (ONEDL, "onedl-mmcv==2.3.6")],
    ids=["OpenMMLab", "onedl"],
)
def test_operators_of_another_torch(diagnose, versions, command):
    said = diagnose(
        versions,
        code={"mmcv/_ext.py": "raise ImportError('undefined symbol: _ZN2at')"},
    )
    assert "do not load, as if compiled for another torch" in said
    assert f"--force-reinstall --no-deps --no-cache-dir {command}" in said


def test_a_library_that_ends_python(diagnose):
    said = diagnose(OPENMMLAB, code={"mmcv/_ext.py": "import os; os.abort()"})
    assert "import mmcv._ext   fails: Python ended with status -6" in said
    assert "--force-reinstall" in said


def test_the_forks_break_on_numpy_2(diagnose):
    said = diagnose({**ONEDL, "numpy": "2.4.6"})
    assert "imgaug, which breaks on NumPy 2.4.6" in said
    assert 'run:   pip install "numpy<2"' in said


@pytest.mark.parametrize(
    ("file", "error", "command"),
    [
        (
            "cv2/__init__.py",
            "libGL.so.1: cannot open shared object file",
            "opencv-python-headless==5.0.0.93",
        ),
        (
            "cv2/__init__.py",
            "numpy.core.multiarray failed to import",
            "pip install --upgrade --force-reinstall --no-cache-dir opencv-python",
        ),
        (
            "pycocotools/mask.py",
            "numpy.dtype size changed, may indicate binary incompatibility",
            "--force-reinstall --no-cache-dir pycocotools",
        ),
        (
            "mmengine/__init__.py",
            "No module named 'pkg_resources'",
            'pip install "setuptools<81"',
        ),
        ("mmdet/__init__.py", "something new", "requirements/tested.txt"),
    ],
)
def test_an_import_that_fails(diagnose, file, error, command):
    said = diagnose(OPENMMLAB, code={file: f"raise ImportError({error!r})"})
    assert said.count("wrong:") == 1
    assert f"fails: ImportError: {error}" in said
    assert command in said.partition("run:")[2]


@pytest.mark.parametrize("version", ["2.5.1+cu121", "2.14.0"])
def test_a_torch_that_is_too_old_or_too_new(diagnose, version):
    said = diagnose({**OPENMMLAB, "torch": version})
    assert f"torch {version} does not fit, >=2.6,<2.14 is needed" in said


def test_the_range_of_torch_is_that_of_the_requirements():
    lines = (REPOSITORY / "requirements" / "runtime.txt").read_text().splitlines()
    assert f"torch{TORCH}" in lines
