# `make demo` and `make test` do all set-up themselves; `make help` lists the rest.
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-pyside6 lint format types imports docs screenshots tables clean

help: ## show this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(STAMP) ## system libraries (Debian, as root), .venv and the package; once

# The manifest is copied at installation, hence it is a reason to install again.
$(STAMP): pyproject.toml napari.yaml scripts/setup.sh
	scripts/setup.sh $(VENV)
	@touch $@

demo: setup ## open napari on a sample scan with its anomaly maps (screenshots without a display)
	$(BIN)/napari-normative demo --out demo-output

test: setup ## the test suite without the slow part
	$(PYTEST) -m "not slow" -n auto --maxprocesses 4 --dist loadfile

test-slow: setup ## the tests that take minutes
	$(PYTEST) -m slow

test-pyside6: setup ## the windows' tests with the other Qt binding
	$(BIN)/python -m pip install --quiet --no-input -e ".[pyside6]"
	QT_API=pyside6 PYTEST_QT_API=pyside6 $(PYTEST) tests/gui

lint: setup ## ruff: rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup ## let ruff rewrite the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: setup ## mypy, strict
	$(BIN)/mypy

imports: setup ## import-linter: imports point one way
	$(BIN)/lint-imports

docs: setup ## build the documentation into site/
	$(BIN)/python -m pip install --quiet --no-input -e ".[docs]"
	$(BIN)/python scripts/cli_reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

screenshots: setup ## make every picture of the documentation anew
	xvfb-run -a -s "-screen 0 1600x1100x24" $(BIN)/python scripts/screenshots.py

DATA ?= ../shared/data
WORK ?= tables-work
tables: setup ## every table in benchmarks/results anew, in hours; PEOPLE=TABLE ONLY="NAME ..."
	$(BIN)/python -m pip install --quiet --no-input -e ".[bench]"
	xvfb-run -a -s "-screen 0 1600x1000x24" $(BIN)/python benchmarks/tables.py $(DATA) \
		--work $(WORK) $(if $(PEOPLE),--people $(PEOPLE)) $(if $(ONLY),--only $(ONLY))

clean: ## remove the environment and everything that was built or cached
	rm -rf $(VENV) build dist site demo-output htmlcov .coverage* \
	    .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
