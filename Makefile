# make bench   run the benchmark suites, save the run and write its report
# make test    run the tests
# make test-matrix   run them in other environments too (tests/matrix.py): Pythons, one core, older CPUs, no compiler, ...
# make check   run the linter and the type checker
# Each works by itself on a fresh machine with Python 3.11 to 3.13: it makes .venv and installs into it once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help bench test test-matrix check clean

help:
	@sed -n '/^$$/q; s/^# //p' Makefile

bench: $(INSTALLED)
	$(BIN)/pytest bench/ --benchmark-autosave $(ARGS)

test: $(INSTALLED)
	$(BIN)/pytest $(ARGS)

test-matrix: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable '.[matrix]' --constraint constraints.txt
	$(BIN)/python tests/matrix.py $(ARGS)

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Anew only when what is to be installed has changed. The mark comes last, so that a broken install is done again.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else \
	"rnncore needs Python 3.11 to 3.13, but $(PYTHON) is %d.%d. Choose another: make PYTHON=python3.12 ..." % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]' --constraint constraints.txt
	@touch $(INSTALLED)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
