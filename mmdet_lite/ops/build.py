"""Build the C++ kernels, while the package is installed or afterwards.

setup.py runs this file by itself, without the package around it: nothing of the package
is imported here.
"""

import platform
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

_AVX2_SOURCE = "kernels_avx2.cpp"
_AVX2_FLAGS = ["-mavx2", "-mfma"]


def setup_arguments(csrc: str) -> dict[str, Any]:
    """What ``setup()`` is told about the extension; it need not succeed.

    The extension needs PyTorch while building (``pip install --no-build-isolation``)
    and a C++17 compiler. Without them the package installs all the same, and its
    operators run on PyTorch.

    Args:
        csrc: folder of the sources, relative to setup.py.
    """
    try:
        return _extension_arguments(csrc, optional=True)
    except ImportError as error:
        _say_skipped(error)
        return {}


def build_extension(folder: Path | None = None) -> Path:
    """Compile the kernels for the PyTorch at hand.

    Args:
        folder: where to put the library; None for where the package looks for it.

    Returns:
        Path: the library.

    Raises:
        RuntimeError: there is no compiler, it fails, or the folder is read-only.
    """
    from setuptools import Distribution

    here = Path(__file__).parent
    folder = here if folder is None else folder
    with TemporaryDirectory() as build:
        distribution = Distribution(
            {
                "name": "mmdet_lite",
                **_extension_arguments(str(here / "csrc"), optional=False),
            }
        )
        command = distribution.get_command_obj("build_ext")
        command.build_lib = command.build_temp = build
        try:
            command.ensure_finalized()
            command.run()
            (built,) = Path(build).rglob("_cpu*.so")
            target = folder / built.name
            # A running process may have the old library open: never write into it.
            new = target.with_suffix(".new")
            new.write_bytes(built.read_bytes())
            new.replace(target)
        except Exception as error:
            raise RuntimeError(
                f"the kernels could not be built: {type(error).__name__}: {error}"
            ) from error
    return target


def _extension_arguments(csrc: str, optional: bool) -> dict[str, Any]:
    from torch.utils.cpp_extension import BuildExtension, CppExtension

    class Build(BuildExtension):
        """Gives one file flags of its own, which ninja builds cannot; may fail."""

        def build_extensions(self) -> None:
            try:
                super().build_extensions()
            except Exception as error:
                if not optional:
                    raise
                _say_skipped(error)

        def build_extension(self, extension) -> None:
            compile_file = self.compiler._compile

            def compile_with_flags(obj, src, ext, cc_args, extra_postargs, pp_opts):
                if Path(src).name == _AVX2_SOURCE:
                    extra_postargs = [*extra_postargs, *_AVX2_FLAGS]
                compile_file(obj, src, ext, cc_args, extra_postargs, pp_opts)

            self.compiler._compile = compile_with_flags
            super().build_extension(extension)

    with_avx2 = platform.machine().lower() in ("x86_64", "amd64")
    names = ["operators.cpp", "kernels_baseline.cpp"]
    if with_avx2:
        names.append(_AVX2_SOURCE)
    extension = CppExtension(
        "mmdet_lite.ops._cpu",
        [f"{csrc}/{name}" for name in names],
        depends=[str(header) for header in sorted(Path(csrc).glob("*.h"))],
        define_macros=[("MMDET_LITE_WITH_AVX2", None)] if with_avx2 else [],
        # at::parallel_for is compiled into the extension and needs OpenMP; vectors
        # wider than the baseline's are passed between inlined functions only.
        extra_compile_args=[
            "-O3",
            "-g0",
            "-fopenmp",
            "-fno-math-errno",
            "-fno-trapping-math",
            "-Wno-psabi",
        ],
        extra_link_args=["-fopenmp"],
        optional=optional,
    )
    return {
        "ext_modules": [extension],
        "cmdclass": {"build_ext": Build.with_options(use_ninja=False)},
    }


def _say_skipped(reason: object) -> None:
    lines = str(reason).splitlines() or [type(reason).__name__]
    print(f"mmdet_lite: fused CPU operators are not built: {lines[0]}", file=sys.stderr)
