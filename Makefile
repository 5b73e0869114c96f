# make demo    the main job on the demonstrations that come along, from nothing to a report
# make test    all tests but the slow ones
# make check   style, types, import order, layout
# make bench   every benchmark, as JSON under benchmarks/results
# make build   source distribution and wheel under dist/, tested where they are installed
#
# Each makes the environment first, and again only when its description has changed.
# PYTHON chooses the interpreter. TORCH_INDEX gives the address of a package index with builds
# of torch for the CPU only; without it pip takes the default build.

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
PYTEST_OPTIONS ?= -n 2

BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
TORCH_FROM := $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check bench build clean

help:
	@sed -n 's/^# make/make/p' Makefile

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt $(TORCH_FROM) torch
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY)
	$(BIN)/dpc demo

test: $(READY)
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)

test-slow: $(READY)
	$(BIN)/python -m pytest $(PYTEST_OPTIONS) -m 'slow and not gpu'

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_imports.py tests/test_layout.py

bench: $(READY)
	@for benchmark in benchmarks/bench_*.py; do \
	  echo "== $$benchmark"; $(BIN)/python $$benchmark || exit 1; \
	done

build: $(READY)
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m pytest -m slow tests/test_layout.py

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis src/*.egg-info
