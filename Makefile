# Everything runs in .venv, which the targets set up for themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_FLAGS := --quiet --disable-pip-version-check --constraint constraints.txt
INSTALL := $(BIN)/pip install $(PIP_FLAGS)
PYTEST := $(BIN)/pytest --numprocesses=auto --dist=worksteal

# What tests/vm make disks, cameras and machines with.
VM_PACKAGES := dosfstools e2fsprogs exfatprogs fdisk mmdebstrap mtools openssh-client \
    qemu-system-x86 qemu-utils

# Where make install puts things, below DESTDIR. Units and launcher name some of these places.
APP := /opt/dockd
COMMAND := /usr/bin/dockd
DOC := /usr/share/doc/dockd
MAN := /usr/share/man/man1
COMPLETIONS := \
    bash:/usr/share/bash-completion/completions/dockd \
    fish:/usr/share/fish/vendor_completions.d/dockd.fish \
    zsh:/usr/share/zsh/vendor-completions/_dockd
SYSTEM := \
    dockd.service:/usr/lib/systemd/system/dockd.service \
    dockd-receiver.service:/usr/lib/systemd/system/dockd-receiver.service \
    dockd.sysusers:/usr/lib/sysusers.d/dockd.conf \
    dockd.tmpfiles:/usr/lib/tmpfiles.d/dockd.conf \
    dockd.sysctl:/usr/lib/sysctl.d/50-dockd.conf \
    dockd.udev.rules:/usr/lib/udev/rules.d/90-dockd.rules \
    dockd.polkit.rules:/usr/share/polkit-1/rules.d/50-dockd.rules

.PHONY: help demo test test-slow test-vm test-vm-thorough vm-packages test-one test-page lint bench examples clean \
    wheelhouse install uninstall

help:
	@echo 'make demo       run the whole workflow on this machine, and the proof of it'
	@echo 'make test       the tests (a few minutes)'
	@echo 'make test-slow  the slower ones: kill -9 at every step, other people'"'"'s clients and servers'
	@echo 'make test-vm    the station in a virtual machine, with emulated cameras (half an hour, root)'
	@echo 'make test-vm-thorough  more of the same: ten power cuts, every stage (an hour, root)'
	@echo 'make test-one TEST=tests/evidence/test_journal.py   one file, or FILE::NAME'
	@echo 'make test-page PAGE=operate   what is claimed in a page of docs/, its commands run'
	@echo 'make lint       ruff, mypy and import-linter'
	@echo 'make bench      the benchmark; writes docs/performance.md (16 GiB of tmpfs)'
	@echo 'make examples   write what docs and examples show of the code anew'
	@echo 'make wheelhouse dockd and what it needs as wheels, for machines without a network'
	@echo 'make install    install on this machine; see docs/install.md'
	@echo 'make uninstall  remove that again, but no state, keys or configuration'
	@echo 'make clean      remove what the above made'

demo: $(VENV)/runtime
	$(BIN)/dockd demo $(ARGS)

test: $(VENV)/development .cache/age-vectors
	$(PYTEST) -m 'not slow and not vm and not thorough' $(ARGS)

test-slow: $(VENV)/development
	$(PYTEST) -m 'slow and not thorough' $(ARGS)

test-one: $(VENV)/development
	$(BIN)/pytest '$(TEST)' $(ARGS)

test-page: $(VENV)/development
	$(PYTEST) tests/test_docs.py -k '$(PAGE).md' $(ARGS)

test-vm: $(VENV)/development vm-packages
	$(BIN)/pytest -m 'vm and not thorough' --durations=30 $(ARGS)

test-vm-thorough: $(VENV)/development vm-packages
	$(BIN)/pytest -m 'vm and thorough' --durations=30 $(ARGS)

vm-packages:
	@dpkg --status $(VM_PACKAGES) >/dev/null 2>&1 || [ "$$(id -u)" != 0 ] || { apt-get update -qq \
		&& apt-get install -y -qq --no-install-recommends $(VM_PACKAGES); }

lint: $(VENV)/development
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(VENV)/development
	$(BIN)/python -m benchmarks $(ARGS)

examples: $(VENV)/runtime
	$(BIN)/python -m dockd.station.config > config.example.toml
	$(BIN)/python -m dockd.receiver.config > receiver.example.toml
	$(BIN)/python -m dockd.cli.events_page > docs/events.md
	$(BIN)/python -m dockd.station.control.openapi > docs/control-api.json

wheelhouse: WHEELHOUSE ?= dist/wheelhouse
wheelhouse: | $(VENV)
	rm -rf build '$(WHEELHOUSE)'/*.whl
	$(BIN)/pip wheel $(PIP_FLAGS) --wheel-dir '$(WHEELHOUSE)' . pip
	rm -rf build

# pip comes with the wheelhouse, or with Python, and doesn't stay.
# The new environment takes the old one's place once it is whole. Scripts in it would name the
# place where it was made, and nothing on a station is to install more into it.
install: NEW := $(DESTDIR)$(APP).new
install: PIP_WHEEL = $(or $(wildcard $(WHEELHOUSE)/pip-*.whl),$(error \
	$(WHEELHOUSE) has no pip; make wheelhouse fills it))
install:
	$(CHECK_PYTHON)
	rm -rf build '$(NEW)'
ifneq ($(WHEELHOUSE),)
	$(PYTHON) -m venv --without-pip '$(NEW)'
	'$(NEW)/bin/python' '$(PIP_WHEEL)/pip' install $(PIP_FLAGS) \
		--no-compile --no-index --find-links '$(WHEELHOUSE)' dockd
else
	$(PYTHON) -m venv '$(NEW)'
	'$(NEW)/bin/python' -m pip install --no-compile $(PIP_FLAGS) .
	'$(NEW)/bin/python' -m pip uninstall --quiet --yes setuptools pip
endif
	'$(NEW)/bin/python' -m compileall -q --workers 0 '$(NEW)/lib'
	find '$(NEW)/bin' -type f -delete
	rm -rf build '$(DESTDIR)$(APP)' '$(DESTDIR)$(DOC)'
	mv '$(NEW)' '$(DESTDIR)$(APP)'
	install -D -m 755 systemd/dockd.sh '$(DESTDIR)$(COMMAND)'
	set -e; for pair in $(SYSTEM); do \
		install -D -m 644 "systemd/$${pair%%:*}" "$(DESTDIR)$${pair#*:}"; \
	done
	install -D -m 644 -t '$(DESTDIR)$(DOC)' $(wildcard *.md) LICENSE \
		config.example.toml receiver.example.toml systemd/dockd-power-off.polkit.rules
	install -D -m 644 -t '$(DESTDIR)$(DOC)/docs' docs/*
	umask 022; '$(DESTDIR)$(APP)/bin/python' -I -m dockd.cli.man '$(DESTDIR)$(MAN)'
	umask 022; set -e; for pair in $(COMPLETIONS); do \
		file="$(DESTDIR)$${pair#*:}"; mkdir -p "$${file%/*}"; \
		'$(DESTDIR)$(APP)/bin/python' -I -m dockd completion "$${pair%%:*}" > "$$file"; \
	done
ifeq ($(DESTDIR),)
	systemd-sysusers dockd.conf
	systemd-tmpfiles --create dockd.conf
	/usr/lib/systemd/systemd-sysctl 50-dockd.conf
	$(RELOAD)
endif

uninstall:
ifeq ($(DESTDIR),)
	-systemctl disable --now dockd.service dockd-receiver.service
endif
	rm -rf '$(DESTDIR)$(APP)' '$(DESTDIR)$(COMMAND)' '$(DESTDIR)$(DOC)'
	rm -f '$(DESTDIR)$(MAN)'/dockd.1 '$(DESTDIR)$(MAN)'/dockd-*.1
	set -e; for pair in $(SYSTEM) $(COMPLETIONS); do rm -f "$(DESTDIR)$${pair#*:}"; done
ifeq ($(DESTDIR),)
	$(RELOAD)
endif

# Devices that are plugged in already are to be marked as the udev rule says.
RELOAD = systemctl daemon-reload && udevadm control --reload \
	&& udevadm trigger --subsystem-match=block

clean:
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info

$(VENV)/runtime: pyproject.toml constraints.txt | $(VENV)
	$(INSTALL) --editable .
	@touch $@

$(VENV)/development: pyproject.toml constraints.txt | $(VENV)
	$(INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/runtime

# A Go module; without Go its tests are skipped.
.cache/age-vectors: tests/evidence/age/vectors/go.mod
	@mkdir -p .cache; cd tests/evidence/age/vectors; ! command -v go >/dev/null || ! go mod download \
		|| ln -sfn "$$(go list -m -f '{{.Dir}}' c2sp.org/CCTV/age)/testdata" '$(CURDIR)/$@'

# Debian keeps the venv module in a package of its own.
define CHECK_PYTHON
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	|| { echo 'dockd needs Python 3.11 or newer; say which with PYTHON=...' >&2; exit 1; }
@$(PYTHON) -c 'import ensurepip' 2>/dev/null || [ "$$(id -u)" != 0 ] \
	|| { apt-get update -qq && apt-get install -y -qq python3-venv; }
@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
	|| { echo 'Python lacks venv: apt-get install python3-venv' >&2; exit 1; }
endef

$(VENV):
	$(CHECK_PYTHON)
	$(PYTHON) -m venv $@
