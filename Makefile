# The commands of the project. Each makes .venv from constraints.txt first, where it is missing or out of date.
#
#   make demo    trade a paper grid on the synthetic market; writes build/demo/
#   make test    all tests
#   make test-slow  the drills that take a minute or more
#   make check   style, types, and who may import whom
#   make lab     JupyterLab on notebooks/
#   make bench   measure; writes build/bench.json
#   make facts   the synthetic market beside what real recordings measured
#   make soak    the tests that run for minutes, and 10,000 drills of the fault laboratory from SEED
#   make mutants sessions with one thing wrong: the laboratory must notice each
#   make chromium  install the browser of the tests, where that needs no question

PYTHON ?= python3
PYTEST_ARGS ?=
# Tests run side by side; those of pages share one worker.
WORKERS ?= 2
SEED ?= 1000
VENV := .venv
BIN := $(VENV)/bin
CORE := $(VENV)/.core-installed
FULL := $(VENV)/.full-installed
# --no-compile: most of what is installed is never imported (ccxt has thousands of files), and Python compiles what is.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt

.PHONY: demo test test-slow chromium check lab bench facts soak mutants clean

demo: $(CORE)
	$(BIN)/grinder demo --out build/demo

test: $(FULL) chromium
	$(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS)

test-slow: $(FULL) chromium
	$(BIN)/python -m pytest -n $(WORKERS) -m slow $(PYTEST_ARGS)

# Debian's package, as root or with a sudo that asks nothing; where that is not so, the tests of pages say what they miss.
chromium:
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
	command -v apt-get >/dev/null || exit 0; \
	if [ "$$(id -u)" = 0 ]; then as_root=env; else sudo -n true 2>/dev/null || exit 0; as_root="sudo -n env"; fi; \
	{ $$as_root apt-get update -qq && $$as_root DEBIAN_FRONTEND=noninteractive \
	apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; } >/dev/null || echo "Chromium could not be installed"

check: $(FULL)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lab: $(FULL)
	$(BIN)/jupyter lab notebooks

bench: $(FULL)
	$(BIN)/python bench/run.py --out build/bench.json

facts: $(FULL)
	$(BIN)/python bench/facts.py

soak: $(FULL)
	$(BIN)/python -m pytest -m soak $(PYTEST_ARGS)
	$(BIN)/python -m tests.lab.soak --seed $(SEED)

mutants: $(FULL)
	$(BIN)/python -m tests.lab.soak --mutants

clean:
	rm -rf build

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "grinder_kit needs Python 3.11 or later: make PYTHON=python3.11")'
	$(PYTHON) -m venv --clear $(VENV)

# The core alone is a quarter of the full set: a first `make demo` should not wait for JupyterLab.
$(CORE): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e ".[report]"
	@touch $@

$(FULL): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e ".[report,notebook,dev,browser,bench]"
	@touch $(CORE) $@
