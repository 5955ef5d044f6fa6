# Every target makes its own environment when there is none.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# One thread a test process: small networks are slower on two (tests run on all cores).
TEST_THREADS := OMP_NUM_THREADS=1

.PHONY: benchmark test test-defaults test-long test-oldest examples lint types check clean

benchmark: $(STAMP)
	$(BIN)/python -m skanogan benchmark $(ARGS)

test: $(STAMP)
	$(TEST_THREADS) $(BIN)/python -m pytest -n auto -m "not slow and not long" $(ARGS)

# scikit-learn's checks on every detector exactly as constructed by default: minutes.
test-defaults: $(STAMP)
	$(TEST_THREADS) $(BIN)/python -m pytest -n auto -m slow tests $(ARGS)

# Damaged and hostile files by the thousand, and whatever else is marked long.
test-long: $(STAMP)
	$(TEST_THREADS) $(BIN)/python -m pytest -n auto -m long tests $(ARGS)

# The same suite on the oldest scikit-learn that pyproject.toml allows.
test-oldest:
	$(MAKE) test VENV=.venv-oldest CONSTRAINTS=constraints-oldest.txt

examples: $(STAMP)
	for example in examples/plot_*.py; do \
	  MPLBACKEND=agg $(TEST_THREADS) $(BIN)/python $$example || exit 1; done

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

check: lint types examples test

CONSTRAINTS ?= constraints.txt

$(STAMP): pyproject.toml $(CONSTRAINTS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c $(CONSTRAINTS) torch
	$(BIN)/python -m pip install --quiet -c $(CONSTRAINTS) -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) .venv-oldest .pytest_cache .ruff_cache .mypy_cache benchmark-results
