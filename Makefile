# Every target makes its own environment when there is none.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# One thread a test process: small networks are slower on two (tests run on all cores).
TEST_THREADS := OMP_NUM_THREADS=1

.PHONY: benchmark gpu test test-defaults test-long test-oldest test-wheel coverage examples \
  docs lint types check dist clean

benchmark: $(STAMP)
	$(BIN)/python -m skanogan benchmark $(ARGS)

# Everything that needs a GPU: some eight minutes, results in gpu-report.md.
gpu: $(STAMP)
	$(BIN)/python examples/studies gpu $(ARGS)

test: $(STAMP)
	$(TEST_THREADS) $(BIN)/python -m pytest -n auto --dist worksteal -m "not slow and not long" $(ARGS)

# scikit-learn's checks on every detector exactly as constructed by default: minutes.
test-defaults: $(STAMP)
	$(TEST_THREADS) $(BIN)/python -m pytest -n auto --dist worksteal -m slow tests $(ARGS)

# Damaged files and hostile numbers by the thousand, killed fits: half an hour.
test-long: $(STAMP)
	$(TEST_THREADS) $(BIN)/python -m pytest -n auto --dist worksteal -m long tests $(ARGS)

# Which lines of the package no test runs.
coverage: $(STAMP)
	$(TEST_THREADS) $(BIN)/python -m pytest -n auto --dist worksteal -m "not slow and not long" \
	  --cov=skanogan --cov-report=term-missing:skip-covered $(ARGS)

# The same suite on the oldest versions that pyproject.toml allows.
test-oldest:
	$(MAKE) test VENV=.venv-oldest CONSTRAINTS=constraints-oldest.txt

examples: $(STAMP)
	for example in examples/plot_*.py; do \
	  MPLBACKEND=agg $(TEST_THREADS) $(BIN)/python $$example || exit 1; done

# The site, with the examples run; warnings are errors, and nothing is downloaded. Then
# Chromium or Chrome, if there is one, looks at every page.
docs: $(VENV)/.installed-docs
	$(TEST_THREADS) $(BIN)/python -m sphinx -W -n --keep-going -j auto -b html $(ARGS) \
	  docs docs/_build/html
	$(BIN)/python docs/browser_check.py docs/_build/html

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy
	$(BIN)/mypy --strict --follow-imports=silent tests/typing_snippet.py

dist: $(STAMP)
	rm -rf dist
	$(BIN)/python -m build

# The tests that the sdist holds, on the installed wheel, away from the checkout.
WHEEL_TEST := build/test-wheel
WHEEL_BIN := $(CURDIR)/.venv-wheel/bin
test-wheel: dist
	rm -rf $(WHEEL_TEST) && mkdir -p $(WHEEL_TEST)
	tar -xzf dist/skanogan-*.tar.gz -C $(WHEEL_TEST) --strip-components=1
	rm -r $(WHEEL_TEST)/skanogan
	$(PYTHON) -m venv --clear .venv-wheel
	$(WHEEL_BIN)/python -m pip install --quiet -c $(CONSTRAINTS) torch
	$(WHEEL_BIN)/python -m pip install --quiet -c $(CONSTRAINTS) \
	  "$$(echo dist/skanogan-*.whl)[test]"
	cd $(WHEEL_TEST) && $(WHEEL_BIN)/python -I -m skanogan versions && \
	  $(TEST_THREADS) $(WHEEL_BIN)/pytest -n auto --dist worksteal -m "not slow and not long" \
	  --pyargs skanogan tests README.md docs/*.md $(ARGS)

check: lint types docs test

CONSTRAINTS ?= constraints.txt

$(STAMP): pyproject.toml $(CONSTRAINTS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c $(CONSTRAINTS) torch
	$(BIN)/python -m pip install --quiet -c $(CONSTRAINTS) -e ".[dev]"
	touch $@

$(VENV)/.installed-docs: $(STAMP)
	$(BIN)/python -m pip install --quiet -c $(CONSTRAINTS) -e ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) .venv-oldest .venv-wheel .hypothesis .pytest_cache .ruff_cache \
	  .mypy_cache .coverage* benchmark-results build dist docs/_build docs/auto_examples docs/generated
