# Everything here sets itself up: a virtual environment in .venv, pinned by constraints.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.DEFAULT_GOAL := help
.PHONY: help demo test check serve bench clean

help: ## Say what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

demo: export QUOTEBASE_DATA_DIR := $(CURDIR)/.demo
demo: $(VENV)/installed ## Import a sample CSV, search it, ask it
	$(BIN)/quotebase ingest data/suzume.csv --dataset suzume
	$(BIN)/quotebase search suzume 导演是谁 --limit 120
	$(BIN)/quotebase ask suzume 导演是谁 --limit 120

test: $(VENV)/installed ## Run the whole test suite
	$(BIN)/python -m pytest

check: $(VENV)/installed ## Check format, lint, types and layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

serve: $(VENV)/installed ## Serve the HTTP API
	$(BIN)/quotebase serve

bench: $(VENV)/installed ## Measure retrieval quality on the two samples
	$(BIN)/python -m benchmarks quality data/suzume --quick
	$(BIN)/python -m benchmarks quality data/coffee --quick

clean: ## Remove the virtual environment and the demo's data
	rm -rf $(VENV) .demo

# Without --no-deps, a package that asks for torch could bring a CUDA build of several GB. The pin takes
# a CPU build; where the registry has none for this Python, everything but other local models still works.
$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "quotebase needs Python 3.11 or newer: make PYTHON=python3.11")'
	@echo "setting up $(VENV) (some minutes the first time)"
	$(PYTHON) -m venv $(VENV)
	@grep -v '^torch==' constraints.txt > $(VENV)/without-torch.txt
	@grep '^torch==' constraints.txt > $(VENV)/torch.txt
	$(PIP) install --no-deps -r $(VENV)/without-torch.txt
	$(PIP) install --no-deps -r $(VENV)/torch.txt || \
		echo "no CPU build of torch for this Python: the bundled model and endpoints work, other local models do not"
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@
