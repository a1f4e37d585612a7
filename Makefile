## make setup   create .venv with everything the project needs; compiles mmcv
##              the first time (about half an hour on two cores)
## make demo    set up, then run the demonstration
## make test    set up, then run the tests
## make lint    set up, then check style, formatting and types
## make clean   remove .venv and what builds and tests leave behind; compiled
##              wheels stay in ~/.cache/mmdet_lite
##
## Variables, in the environment or after the target:
##   PYTHON=python3.12     the Python to use, 3.10 or newer
##   TORCH='torch==2.9.1'  a torch other than the tested one; .venv keeps this
##                         and the Python until others are named
##   CXX=g++-12            the C++ compiler for mmcv
##   MAX_JOBS=2            how many files of mmcv to compile at a time (each
##                         takes up to 2 GB of memory); default: one per core
##   PIP_...               pip's own settings; with PIP_EXTRA_INDEX_URL at
##                         PyTorch's index of CPU builds torch takes 2 GB less
PYTHON ?= $(or $(wildcard .venv/bin/python),python3)

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint clean

help:
	@sed -n 's/^## \{0,1\}//p' Makefile

setup:
	@$(PYTHON) tools/setup_env.py

demo: setup
	.venv/bin/python tools/demo.py

test: setup
	.venv/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile

lint: setup
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

clean:
	rm -rf .venv .nox build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .coverage
	rm -f mmdet_lite/ops/*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
