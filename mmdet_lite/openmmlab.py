"""What the package needs of OpenMMLab, looked for before anything is imported of it.

pip does not install these packages with this one: ``requirements/mminstall.txt`` says
why. So their absence is found here, and not by an import deep inside.
"""

import importlib
import re
from collections.abc import Iterable
from importlib.util import find_spec

# The ranges of requirements/mminstall.txt, which an installed package lacks.
REQUIREMENTS = {"mmengine": ">=0.10.3,<1", "mmcv": ">=2.0.1,<2.2", "mmdet": ">=3.3,<4"}


def check_openmmlab() -> None:
    """Check that mmengine, mmcv with its operators, and mmdet can be imported.

    Forks that keep the import names serve as well. An upper bound is not enforced:
    mmdet refuses by itself what it does not work with.

    Raises:
        ImportError: one is missing, too old or incomplete; the message is one line and
            has the command that mends it.
    """
    missing = [name for name in REQUIREMENTS if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"mmdet_lite needs {' and '.join(missing)}, which pip does not install "
            f"with it: {_install_command(missing)}"
        )
    if find_spec("mmcv._ext") is None:
        command = _install_command(
            ["mmcv"], "--force-reinstall --no-deps --no-cache-dir"
        )
        raise ImportError(
            "mmdet_lite needs mmcv's compiled operators, which this mmcv lacks: "
            f"pip uninstall -y mmcv-lite && {command}"
        )
    from mmengine.utils import digit_version

    for name, versions in REQUIREMENTS.items():
        found = importlib.import_module(name).__version__
        if digit_version(found) < digit_version(_minimum(versions)):
            raise ImportError(
                f"mmdet_lite needs {name}{versions}, but {found} is installed: "
                f"{_install_command([name])}"
            )


def _minimum(versions: str) -> str:
    return re.sub(r">=([^,]+).*", r"\1", versions)


def _install_command(names: Iterable[str], options: str = "") -> str:
    """The command that brings packages; the shell must not see ``<`` and ``>``."""
    packages = [f'"{name}{REQUIREMENTS[name]}"' for name in names]
    if "mmcv" not in names:
        return " ".join(["pip install", *packages])
    # mmcv is compiled, by what its setup.py imports: torch and pkg_resources.
    install = ["pip install --no-build-isolation", *options.split(), *packages]
    return f'pip install "setuptools<81" wheel && {" ".join(install)}'
