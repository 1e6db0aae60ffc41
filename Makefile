# make demo, make test: each sets up what it needs in .venv and runs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Installed again only when the dependencies change, the checkout moves (programs in .venv carry
# its path) or the interpreter is gone; the stamp holds the path.
STAMP := $(VENV)/.installed
INSTALLED_AT := $(shell $(BIN)/python -c '' 2>/dev/null && cat $(STAMP) 2>/dev/null)
DEMO_FLAGS ?=
TEST_FLAGS ?=
# One thread a process: tests start worker processes, and PyTorch processes that share cores
# with two threads each run ten times slower than with one.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
# A process a core and one more, since a third of the time tests wait for servers to start, stop or be
# missed; the tests of a file share fixtures. Their order is that of tests/conftest.py.
TEST_PROCESSES ?= --numprocesses $(shell $(PYTHON) -c 'import os; print(min(4, 1 + len(os.sched_getaffinity(0))))') \
  --dist loadfile --no-loadscope-reorder

.PHONY: setup demo test lint types unit coverage docs bench island clean help

help:  ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

ifneq ($(INSTALLED_AT),$(CURDIR))
.PHONY: $(STAMP)
endif

setup: $(STAMP)  ## make .venv and install everything

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1 || \
	  { [ -n "$(INSTALLED_AT)" ] && [ "$(INSTALLED_AT)" != "$(CURDIR)" ]; }; then \
	  $(PYTHON) -m venv --clear $(VENV); fi
	@echo "installing into $(VENV): PyTorch is about 5 GB, this takes a minute or two"
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@printf '%s\n' "$(CURDIR)" > $@

demo: $(STAMP)  ## watch the whole loop repair a detector (flags: DEMO_FLAGS="--compare random")
	$(BIN)/e2x demo $(DEMO_FLAGS)

test: lint types unit  ## style, types and the usual tests; all of them with CI=1 or TEST_FLAGS=--whole

lint: $(STAMP)  ## style, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(STAMP)  ## static types
	$(BIN)/mypy

unit: $(STAMP)  ## the tests alone (flags: TEST_FLAGS="-k gate")
	$(TEST_ENV) $(BIN)/python -m pytest $(TEST_PROCESSES) $(TEST_FLAGS)

# Counting branches costs much processor time, so it is not part of every run.
coverage: $(STAMP)  ## the tests again, and what they do not run
	rm -f .coverage .coverage.*
	$(TEST_ENV) $(BIN)/python -m pytest $(TEST_PROCESSES) --cov --cov-report= $(TEST_FLAGS)
	$(BIN)/coverage report --sort=cover | tail -n 40

docs: $(STAMP)  ## build the documentation; open docs/_build/index.html
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build

bench: $(STAMP)  ## the measurements; tables go to benchmarks/results
	$(BIN)/python -m benchmarks.demo

island:  ## build the script of the page to label on anew from web/ (needs Node)
	npm --prefix web ci --ignore-scripts --no-audit --no-fund
	npm --prefix web run --silent check
	npm --prefix web run --silent build

clean:  ## remove what was built, and the demo
	rm -rf $(VENV) demo docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.*
