# Murmuration: every command one has to know. `make help` lists them; each makes the virtual
# environment first when it is missing or older than what it is made from.
#
# Variables:
#   PYTHON   the Python 3.11 that makes the environment            (python3.11)
#   FBGEMM   fbgemm-gpu-cpu, or fbgemm-gpu on a machine with GPUs  (what is installed, or -cpu)
#   ARGS     passed on to the command: make test ARGS="-m 'not cluster'"

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --no-input --disable-pip-version-check

# The choice of fbgemm stays with the environment, so it is named once: make install FBGEMM=…
FBGEMM ?= $(shell cat $(VENV)/.fbgemm 2>/dev/null || echo fbgemm-gpu-cpu)
FBGEMM_BUILDS := fbgemm-gpu-cpu fbgemm-gpu
ifeq ($(filter $(FBGEMM),$(FBGEMM_BUILDS)),)
$(error FBGEMM=$(FBGEMM) is not known; it is one of: $(FBGEMM_BUILDS))
endif

INSTALLED := $(VENV)/.installed-$(FBGEMM)

FUZZER := .venv-fuzz
SCHEMATHESIS := schemathesis==4.32.5

.PHONY: demo test fuzz lint format bench up down install clean help

demo: $(INSTALLED)  ## a world, its models and its timelines on this machine, in one command
	@$(BIN)/murmuration demo $(ARGS)

# A process for each core, at most four: one takes 1.5 GB, and the system under test some more.
test: $(INSTALLED)  ## the tests
	@$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

fuzz: $(INSTALLED) $(FUZZER)/.installed  ## Schemathesis against what OpenAPI promises, some minutes
	@$(BIN)/python -m tests.fuzz $(FUZZER)/bin/schemathesis $(ARGS)

$(FUZZER)/.installed: Makefile
	@$(PYTHON) -m venv --clear $(FUZZER)
	@$(FUZZER)/bin/python -m pip -qq --no-input --disable-pip-version-check install $(SCHEMATHESIS)
	@touch $@

lint: $(INSTALLED)  ## ruff (lint and format), mypy --strict, the arrows between the rooms
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(INSTALLED)  ## rewrite the code in the project's form
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

bench: $(INSTALLED)  ## the benchmarks
	@$(BIN)/python -m benchmarks $(ARGS)

up: $(INSTALLED)  ## start the system here
	@$(BIN)/murmuration up $(ARGS)

down: $(INSTALLED)  ## stop it
	@$(BIN)/murmuration down $(ARGS)

install: $(INSTALLED)  ## only make the environment

clean:  ## remove the environment, the caches and what was built (never data)
	@rm -rf $(VENV) $(FUZZER) build dist *.egg-info
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .schemathesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:
	@echo "make TARGET, where TARGET is one of"
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

# Named before anything is downloaded: each of these otherwise fails minutes later, inside pip.
define check_prerequisites
	command -v $(PYTHON) >/dev/null || { \
	  echo "error: '$(PYTHON)' not found. Murmuration needs Python 3.11;" \
	       "name yours with 'make PYTHON=/path/to/python3.11'." >&2; exit 1; }; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo "error: '$(PYTHON)' is $$($(PYTHON) --version 2>&1), but Murmuration needs" \
	       "Python 3.11; name it with 'make PYTHON=/path/to/python3.11'." >&2; exit 1; }; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "error: '$(PYTHON)' cannot make virtual environments; install its venv module" \
	       "(Debian, Ubuntu: python3.11-venv)." >&2; exit 1; }; \
	cxx=$$($(PYTHON) -c 'import os, sysconfig; \
	  print((os.environ.get("CXX") or sysconfig.get_config_var("CXX") or "c++").split()[0])'); \
	command -v "$$cxx" >/dev/null || { \
	  echo "error: the C++ compiler '$$cxx' was not found. hnswlib is built from source;" \
	       "install a compiler (Debian, Ubuntu: g++) or name yours in CXX." >&2; exit 1; }; \
	headers=$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))'); \
	test -e "$$headers/Python.h" || { \
	  echo "error: Python.h is not in $$headers. hnswlib is built from source and needs it;" \
	       "install Python's headers (Debian, Ubuntu: python3.11-dev)." >&2; exit 1; }
endef

$(INSTALLED): requirements-torch.txt requirements.lock pyproject.toml
	@$(check_prerequisites)
	@rm -f $(VENV)/.installed-*
	@test -x $(BIN)/python || { echo "making $(VENV) with $(PYTHON)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing torch and what its build brings (the longest step)"
	@$(PIP) install -r requirements-torch.txt
	@echo "installing the rest of the lock, with $(FBGEMM)"
	@$(PIP) uninstall --yes $(filter-out $(FBGEMM),$(FBGEMM_BUILDS)) 2>/dev/null
	@sed 's/^fbgemm-gpu-cpu==/$(FBGEMM)==/' requirements.lock > $(VENV)/requirements.lock
	@$(PIP) install --no-deps -r $(VENV)/requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@echo "compiling the kernels"
	@$(BIN)/python -m actors.warm
	@echo $(FBGEMM) > $(VENV)/.fbgemm
	@touch $@
