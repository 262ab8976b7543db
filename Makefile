# Each target does all its own set-up: a virtual environment in .venv, with the versions that are known to work.
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo demo-discovery test test-all lint zoo bench bench-expressions clean

demo: $(VENV)/.installed  ## the main job: test an induction hypothesis, print the table, write induction.html
	$(BIN)/scrub demo

demo-discovery: $(VENV)/.installed  ## find a circuit: methods compared, one circuit drawn and scrubbed; discovery.html
	$(BIN)/scrub discover

test: lint  ## lint, layers, types, and the test suite
	$(BIN)/python -m pytest -m "not slow"

test-all: lint  ## the same with the slow tests
	$(BIN)/python -m pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/pyright

zoo: $(VENV)/.installed  ## train the models that ship again, more than an hour on two cores, and study the second
	$(BIN)/python -m zoo.train_attn_only_2l
	$(BIN)/python -m zoo.train_parens --seeds 0 1 2
	$(BIN)/python -m zoo.parens_study
	$(BIN)/python -m zoo.train_ioi

INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

$(VENV)/.installed: pyproject.toml constraints.txt
	python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "scrub needs Python 3.11 or newer")'
	python3 -m venv $(VENV)
	$(INSTALL) .
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(INSTALL) ".[dev]"
	touch $@

bench: $(VENV)/.dev  ## what compiled expressions cost beside Hugging Face and TransformerLens: docs/benchmarks.md
	$(BIN)/python -m benchmarks --write

bench-expressions: $(VENV)/.installed  ## what building, rewriting and saving expressions costs
	$(BIN)/python -m benchmarks.node_cost
	$(BIN)/python -m benchmarks.lowering
	$(BIN)/python -m benchmarks.graph_scale

clean:
	rm -rf $(VENV) induction.html discovery.html
