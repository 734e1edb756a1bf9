# Everything runs in .venv, which the targets set up for themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help demo test test-slow lint bench examples clean

help:
	@echo 'make demo       see the whole job on this machine, and the proof of it'
	@echo 'make test       the tests (a few minutes)'
	@echo 'make test-slow  the slower ones: kill -9 at every step, other people'"'"'s clients and servers'
	@echo 'make lint       ruff and mypy'
	@echo 'make bench      the benchmark; writes docs/performance.md (16 GiB of tmpfs)'
	@echo 'make examples   write the example configurations and docs/events.md anew'
	@echo 'make clean      remove what the above made'

demo: $(VENV)/runtime
	$(BIN)/dockd demo $(ARGS)

test: $(VENV)/development
	$(BIN)/pytest -m 'not slow' $(ARGS)

test-slow: $(VENV)/development
	$(BIN)/pytest -m slow $(ARGS)

lint: $(VENV)/development
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(VENV)/development
	$(BIN)/python -m benchmarks $(ARGS)

examples: $(VENV)/runtime
	$(BIN)/python -m dockd.config > config.example.toml
	$(BIN)/python -m dockd.receiver.config > receiver.example.toml
	$(BIN)/python -m dockd.events > docs/events.md

clean:
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info

$(VENV)/runtime: pyproject.toml constraints.txt | $(VENV)
	$(INSTALL) --editable .
	@touch $@

$(VENV)/development: pyproject.toml constraints.txt | $(VENV)
	$(INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/runtime

# Debian keeps the venv module in a package of its own.
$(VENV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'dockd needs Python 3.11 or newer; say which with PYTHON=...' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || [ "$$(id -u)" != 0 ] \
		|| { apt-get update -qq && apt-get install -y -qq python3-venv; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
		|| { echo 'Python lacks venv: apt-get install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv $@
