"""Builds the fused CPU operators where it can; setup.cfg holds everything else.

The extension is optional. It needs PyTorch while building (so
``pip install --no-build-isolation``) and a C++17 compiler; without them the package
installs all the same and its operators run on PyTorch.
"""

import platform
import sys
from pathlib import Path

from setuptools import setup

SOURCES = Path("mmdet_lite/ops/csrc")
AVX2_SOURCE = "kernels_avx2.cpp"
AVX2_FLAGS = ["-mavx2", "-mfma"]


def say_skipped(reason: object) -> None:
    lines = str(reason).splitlines() or [type(reason).__name__]
    print(f"mmdet_lite: fused CPU operators are not built: {lines[0]}", file=sys.stderr)


def extension_arguments() -> dict:
    """What setup() is told about the extension: nothing where PyTorch is missing."""
    try:
        from torch.utils.cpp_extension import BuildExtension, CppExtension
    except ImportError as error:
        say_skipped(error)
        return {}

    class OptionalBuild(BuildExtension):
        """Gives one file flags of its own, which ninja builds cannot; may fail."""

        def build_extensions(self) -> None:
            try:
                super().build_extensions()
            except Exception as error:
                say_skipped(error)

        def build_extension(self, extension) -> None:
            compile_file = self.compiler._compile

            def compile_with_flags(obj, src, ext, cc_args, extra_postargs, pp_opts):
                if Path(src).name == AVX2_SOURCE:
                    extra_postargs = [*extra_postargs, *AVX2_FLAGS]
                compile_file(obj, src, ext, cc_args, extra_postargs, pp_opts)

            self.compiler._compile = compile_with_flags
            super().build_extension(extension)

    with_avx2 = platform.machine().lower() in ("x86_64", "amd64")
    sources = [SOURCES / "operators.cpp", SOURCES / "kernels_baseline.cpp"]
    if with_avx2:
        sources.append(SOURCES / AVX2_SOURCE)
    extension = CppExtension(
        "mmdet_lite.ops._cpu",
        [str(source) for source in sources],
        depends=[str(header) for header in sorted(SOURCES.glob("*.h"))],
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
        optional=True,
    )
    return {
        "ext_modules": [extension],
        "cmdclass": {"build_ext": OptionalBuild.with_options(use_ninja=False)},
    }


setup(**extension_arguments())
