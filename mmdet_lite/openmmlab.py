"""What the package needs of OpenMMLab, looked for before anything is imported of it.

pip does not install these packages with this one: ``requirements/mminstall.txt`` says
why. So their absence is found here, and not by an import deep inside.
"""

import importlib
import re
import sys
from collections.abc import Iterable
from importlib.util import find_spec

# The ranges of requirements/mminstall.txt, which an installed package lacks.
REQUIREMENTS = {"mmengine": ">=0.10.3,<1", "mmcv": ">=2.1,<2.2", "mmdet": ">=3.3,<4"}
# Builds what is not to be found among pip's own wheels, for the torch at hand.
REBUILD = "--force-reinstall --no-deps --no-cache-dir"
DOCTOR = "mmdet_lite.doctor"
_ASK_DOCTOR = f"; python -m {DOCTOR} says more"


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
            f"with it: {install_command(missing)}{_ASK_DOCTOR}"
        )
    if find_spec("mmcv._ext") is None:
        raise ImportError(
            "mmdet_lite needs mmcv's compiled operators, which this mmcv lacks: "
            f"pip uninstall -y mmcv-lite && {install_command(['mmcv'], REBUILD)}"
            f"{_ASK_DOCTOR}"
        )
    from mmengine.utils import digit_version

    for name, versions in REQUIREMENTS.items():
        found = importlib.import_module(name).__version__
        if digit_version(found) < digit_version(minimum(versions)):
            raise ImportError(
                f"mmdet_lite needs {name}{versions}, but {found} is installed: "
                f"{install_command([name])}{_ASK_DOCTOR}"
            )


def doctor_is_called() -> bool:
    """Whether Python was started for the doctor, and is about to find it.

    The doctor looks at what the package would import, and so comes before it.
    """
    # Python sets the first argument so while it looks for the module to run.
    return sys.argv[:1] == ["-m"] and any(
        argument.endswith(DOCTOR) for argument in sys.orig_argv
    )


def minimum(versions: str) -> str:
    """The oldest version of a range: ``'2.1'`` of ``'>=2.1,<2.2'``."""
    return re.sub(r">=([^,]+).*", r"\1", versions)


def install_command(names: Iterable[str], options: str = "") -> str:
    """The command that brings packages; the shell must not see ``<`` and ``>``."""
    packages = [f'"{name}{REQUIREMENTS[name]}"' for name in names]
    if "mmcv" not in names:
        return " ".join(["pip install", *options.split(), *packages])
    # mmcv is compiled, by what its setup.py imports: torch and pkg_resources.
    install = ["pip install --no-build-isolation", *options.split(), *packages]
    return f'pip install "setuptools<81" wheel && {" ".join(install)}'
