"""Builds the fused CPU operators where it can; setup.cfg holds everything else."""

import runpy

from setuptools import setup

build = runpy.run_path("mmdet_lite/ops/build.py")
setup(**build["setup_arguments"]("mmdet_lite/ops/csrc"))
