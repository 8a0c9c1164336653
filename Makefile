# demo and test are the two commands of the README; each does all of its own set-up.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Versions are pinned; drop CONSTRAINTS= to try the newest ones.
CONSTRAINTS ?= -c constraints.txt

.PHONY: demo test proof docs lint format clean

$(VENV)/.created:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; try make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.demo: $(VENV)/.created pyproject.toml constraints.txt
	@echo "installing into $(VENV) (pip says nothing): the first time this takes minutes"
	$(BIN)/pip install --quiet $(CONSTRAINTS) --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	@echo "installing what the tests need, PyTorch among it: the first time this takes minutes"
	$(BIN)/pip install --quiet $(CONSTRAINTS) --editable '.[dev]'
	touch $@

demo: $(VENV)/.demo          ## find and draw the objects of the sample image
	$(BIN)/ssd-resnet34 detect samples/scene.png --save out
	@echo "For the command by itself: . $(BIN)/activate"

test: lint                   ## the suite of every change
	$(BIN)/pytest

proof: $(VENV)/.dev          ## the long one: soak, kills, accuracy, ratios; writes docs/proof.md
	$(BIN)/python -m benchmarks.proof

docs: $(VENV)/.dev           ## tables and figures from the code, then the site in build/site
	$(BIN)/python -m manual
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
