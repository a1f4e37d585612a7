"""What an import says where OpenMMLab's packages are missing, incomplete or old."""

import os
import subprocess
import sys
from pathlib import Path

import mmdet
import pytest
from repository_root import REPOSITORY

from mmdet_lite.openmmlab import REQUIREMENTS, check_openmmlab


@pytest.fixture
def import_without(tmp_path):
    """Function that imports mmdet_lite where files are not installed.

    It takes their paths in the folder of installed packages, imports in a process of
    its own and returns the last line that this wrote.
    """

    def link(source: Path, target: Path, hidden: set[Path]) -> None:
        target.mkdir()
        for entry in source.iterdir():
            if entry in hidden:
                continue
            if any(entry in path.parents for path in hidden):
                link(entry, target / entry.name, hidden)
            else:
                (target / entry.name).symlink_to(entry)

    def run(*patterns: str) -> str:
        installed = Path(mmdet.__file__).parents[1]
        hidden = {path for pattern in patterns for path in installed.glob(pattern)}
        assert hidden
        link(installed, tmp_path / "installed", hidden)
        result = subprocess.run(
            # -S: the folder of installed packages is not on the path by itself.
            [sys.executable, "-S", "-c", "import mmdet_lite"],
            env={
                **os.environ,
                "PYTHONPATH": f"{REPOSITORY}:{tmp_path / 'installed'}",
            },
            capture_output=True,
            text=True,
        )
        assert result.returncode == 1
        return result.stderr.splitlines()[-1]

    return run


def test_ranges_are_those_that_pip_is_given():
    lines = (REPOSITORY / "requirements" / "mminstall.txt").read_text().splitlines()
    ranges = [line for line in lines if not line.startswith("#")]
    assert ranges == [name + versions for name, versions in REQUIREMENTS.items()]


def test_a_missing_package_is_named_with_the_command_that_brings_it(import_without):
    assert import_without("mmdet") == (
        "ImportError: mmdet_lite needs mmdet, which pip does not install with it: "
        'pip install "mmdet>=3.3,<4"; python -m mmdet_lite.doctor says more'
    )


def test_a_missing_mmcv_is_compiled_against_the_torch_at_hand(import_without):
    assert import_without("mmcv", "mmengine") == (
        "ImportError: mmdet_lite needs mmengine and mmcv, which pip does not install "
        'with it: pip install "setuptools<81" wheel && pip install '
        '--no-build-isolation "mmengine>=0.10.3,<1" "mmcv>=2.1,<2.2"; '
        "python -m mmdet_lite.doctor says more"
    )


def test_an_mmcv_without_operators_is_replaced(import_without):
    line = import_without("mmcv/_ext.*")
    assert "needs mmcv's compiled operators, which this mmcv lacks" in line
    assert "--force-reinstall --no-deps --no-cache-dir" in line


def test_an_old_package_is_named_with_its_version(monkeypatch):
    check_openmmlab()
    monkeypatch.setattr(mmdet, "__version__", "3.2.0")
    with pytest.raises(ImportError, match=r"needs mmdet>=3\.3,<4, but 3\.2\.0 is"):
        check_openmmlab()
