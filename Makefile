# `make quickstart` and `make test` need only Python 3.11 or newer, pip and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# pytest -n: one process per core, each with one thread; more threads than cores make torch slower, not faster.
JOBS ?= 2

.PHONY: help quickstart test test-slow lint format clean

help:
	@echo "make quickstart   install, train six small models on real digits, attack them, write one HTML report"
	@echo "make test         install what tests need; ruff, mypy, import contracts, tests (minutes)"
	@echo "make test-slow    the long versions: real checkpoints, simulations, many kills"

quickstart: $(VENV)/.installed
	@$(BIN)/fairbench quickstart

test: lint
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --durations=15

test-slow: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) -m "slow or browser" --durations=15

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "fairbench needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "Installing fairbench into $(VENV): PyTorch is large, so this takes one to several minutes and up to 6 GB."
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	@echo "Installing fairbench with its tests' tools into $(VENV): one to several minutes, up to 6 GB (PyTorch)."
	$(BIN)/python -m pip install --quiet --editable ".[dev,zoo]"
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
