# make run: the demo.  make test: every test.  Both set up what they need, in .venv, on the first call.
# make guard: what an event and a list cost in instructions (needs valgrind).
# make bench [PARTS="ingest memory"]: callbridge beside its peers (bench/README.md).
# make chaos [OPTIONS="--only cut --times 1"]: callbridge while things go wrong; --real on a real switch
# (chaos/README.md).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test lint guard bench chaos clean

run: $(VENV)/ready
	$(BIN)/callbridge demo

test: $(VENV)/ready
	$(BIN)/python -m pytest

guard: $(VENV)/ready
	$(BIN)/python -m bench.guard

bench: $(VENV)/ready
	$(BIN)/python -m bench $(PARTS)

chaos: $(VENV)/ready
	$(BIN)/python -m chaos $(OPTIONS)

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/ready: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
