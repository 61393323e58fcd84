# Task Center. `make` alone lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
# A developer's key and no TLS, for commands that only look at the code.
DEV := DEBUG=true $(BIN)/python -W ignore::RuntimeWarning manage.py
STACK := $(BIN)/python -m taskcenter.devstack
SOURCES := taskcenter jobs queues_admin tests deploy $(wildcard bench) manage.py
PIP_COMPILE := $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help audit run test check lint generate bench faults soak mutants worker shell lock clean venv venv-dev

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | \
		while IFS=$$'\t' read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done
	@echo "  Settings of make run: PORT=8000 WORKERS=1 DEMO=1 DATABASE_URL= REDIS_URL= TASKCENTER_DATA_DIR=.data"

run: venv ## Start everything here: databases, web, worker, scheduler, demo work; Ctrl-C stops it
	@exec $(STACK) run

test: lint ## All checks and all tests
	@echo "== tests"
	@$(BIN)/python -m pytest -n 2 tests || { [ "$$CI" = true ] && \
		echo "== once more, one after the other: what failed beside other tests" && \
		$(BIN)/python -m pytest --last-failed --last-failed-no-failures none tests; }

check: lint ## Quick: linters, types, imports, unit and house tests
	@echo "== unit and house tests"
	@$(BIN)/python -m pytest -q tests/unit tests/house

lint: venv-dev
	@echo "== ruff"
	@$(BIN)/ruff check --quiet $(SOURCES)
	@$(BIN)/ruff format --quiet --check $(SOURCES)
	@echo "== mypy"
	@$(BIN)/mypy --no-error-summary
	@echo "== imports"
	@$(BIN)/lint-imports --no-logo 2>&1 | grep -vE '^$$' | tail -n 12; exit $${PIPESTATUS[0]}
	@echo "== migrations and generated files"
	@$(DEV) makemigrations --check --dry-run
	@if $(DEV) help generate >/dev/null 2>&1; then $(DEV) generate --check; fi

generate: venv-dev ## Write the generated files anew (alerts, OpenAPI, diagram, conformance)
	@$(DEV) generate

bench: venv-dev ## Measure; prints a table and writes JSON
	@$(BIN)/python -m bench

faults: venv-dev ## The long form of the fault tests
	@FAULTS=long $(BIN)/python -m pytest -m faults tests

soak: venv-dev ## Six hours (SOAK_S=21600) at half load with kills: does anything grow?
	@$(BIN)/python -m tests.faults.soak

mutants: venv-dev ## Break one guard at a time and show that its fault test fails
	@$(BIN)/python -m tests.faults.mutants

audit: venv-dev ## Known vulnerabilities of the pinned packages; writes sbom.json (CycloneDX) into the data folder
	@$(BIN)/python deploy/audit.py requirements.txt "$${TASKCENTER_DATA_DIR:-.data}/sbom.json" || \
		{ status=$$?; [ $$status = 75 ] && [ "$$CI" = true ] || exit $$status; }

worker: venv ## One more worker beside `make run`
	@exec $(STACK) manage rqworker

shell: venv ## A Django shell on the databases of `make run`
	@exec $(STACK) manage shell

lock: venv-dev ## Pin requirements*.in anew, with hashes
	@for name in requirements requirements-dev; do \
		$(PIP_COMPILE) --output-file $$name.txt $$name.in 2>/dev/null && \
		sed -i.bak "1i # From $$name.in by \`make lock\`; edit that file instead." $$name.txt && \
		sed -i.bak '2{/^# From/d;}' $$name.txt && rm -f $$name.txt.bak || exit 1; done

clean: ## Remove the virtual environment, the data of `make run`, and caches
	@if [ -f .data/postgres.home ]; then rm -rf "$$(cat .data/postgres.home)"; fi
	@rm -rf $(VENV) .data .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

venv:
	@$(call install,requirements.txt)

venv-dev:
	@$(call install,requirements-dev.txt)

# The stamp holds the hashes of what is installed. Debian's python3 may lack ensurepip: then pip works from outside.
define install
set -e; \
[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is needed (python3 on PATH, or make PYTHON=…)"; exit 1; }; \
want="$$(cat $(1) | $(PYTHON) -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')"; \
if ! grep -qs "$$want" $(VENV)/.stamp; then \
	if [ ! -x $(BIN)/python ]; then \
		echo "Making the virtual environment $(VENV) …"; \
		if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(PYTHON) -m venv $(VENV); \
		else $(PYTHON) -m venv --without-pip $(VENV); fi; \
	fi; \
	if [ -x $(BIN)/pip ]; then pip="$(BIN)/python -m pip"; \
	elif $(PYTHON) -m pip --version >/dev/null 2>&1; then pip="$(PYTHON) -m pip --python $(BIN)/python"; \
	else echo "pip is missing: install your system's python3-venv or python3-pip"; exit 1; fi; \
	echo "Installing $(1) …"; \
	$$pip install --quiet --require-hashes -r $(1) 2> >(grep -v '^WARNING: Location' >&2); \
	echo "$$want  $(1)" >> $(VENV)/.stamp; \
fi
endef
