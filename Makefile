# Coreo. `make help` says what there is. Needs Python >= 3.11 and make; everything else comes from hashed locks.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
DISTRIBUTIONS := shared shared/cli services/api services/api/lint services/worker services/results infra/embedded
CODE := shared services infra tests
ARGS ?=
CHECK ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format lint types imports bench rivals lock clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: .venv/.ready .venv-aws/.ready ## Install everything into .venv (the coreo command included) and the simulated AWS into .venv-aws

.venv/.ready: requirements/dev.txt $(addsuffix /pyproject.toml,$(DISTRIBUTIONS))
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Coreo needs Python 3.11 or newer: make setup PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(addprefix -e ./,$(DISTRIBUTIONS))
	@touch $@

# The simulator pins botocore, so it lives in an environment of its own.
.venv-aws/.ready: requirements/simulator.txt
	test -x .venv-aws/bin/python || $(PYTHON) -m venv .venv-aws
	.venv-aws/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/simulator.txt
	@touch $@

demo: setup ## Run the main job on this machine: the whole stack, a simulated account, an audit; CHECK=1 verifies and exits
	$(BIN)/coreo-embedded demo $(if $(CHECK),--check) $(ARGS)

test: setup ## Run all tests; ARGS='-k word' goes to pytest
	$(BIN)/python -m pytest $(ARGS)

check: format-check lint types imports test ## Everything CI checks

format: setup ## Format the code
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix-only --quiet $(CODE)

.PHONY: format-check
format-check: setup
	$(BIN)/ruff format --check $(CODE)

lint: setup ## Lint the code and the templates
	$(BIN)/ruff check $(CODE)
	$(BIN)/cfn-lint infra/cloudformation/*.yaml

types: setup ## Check types (mypy strict)
	$(BIN)/mypy

imports: setup ## Check the import contracts between the services
	$(BIN)/lint-imports

bench: setup ## Measure the hot paths beside their limits and rivals, each line with its bar (see also: rivals)
	$(BIN)/python -m tests.bench.scan_command
	$(BIN)/python -m tests.bench.engine_requests
	$(BIN)/python -m tests.bench.engine_runs
	$(BIN)/python -m tests.bench.engine_rules
	$(BIN)/python -m tests.bench.results_ingest
	$(BIN)/python -m tests.bench.results_pages
	$(BIN)/python -m tests.bench.results_backups

rivals: .venv-rivals/.ready ## Install Cloud Custodian into .venv-rivals, for `make bench` to measure it too

.venv-rivals/.ready: requirements/rivals.txt
	test -x .venv-rivals/bin/python || $(PYTHON) -m venv .venv-rivals
	.venv-rivals/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/rivals.txt
	@touch $@

lock: ## Compile the hashed locks again; ARGS=--upgrade for newer versions (needs uv)
	requirements/lock.sh $(ARGS)

clean: ## Remove environments and caches
	rm -rf .venv .venv-aws .venv-rivals .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
