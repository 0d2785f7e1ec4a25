# make start    install into ./.venv and start a cluster on ./data
# make test     install what tests need and run them
# make check    what CI runs: style, types, import rules, known holes, tests
# make conformance   the protocol from outside, over every door: ADDR=host:port asks a running server, by TCP alone,
#                    SHARDS=1|2|32 starts one so large, DATABASE=psycopg|psycopg2 on PostgreSQL
# make load     measure (see python -m loadtest --help);   make soak    the long campaigns
#
# Variables: ARGS="..." goes to the command; JOBS=4 is the number of test processes, by default one more than there are
# cores, as many wait; PYTHON=python3.12 picks one.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help start test check lint types imports audit conformance load soak stubs docs lock clean debian

ARGS ?=
JOBS ?= $(shell expr $$(nproc) + 1)
ADDR ?=
SHARDS ?= 2
DATABASE ?=
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INPUTS := pyproject.toml requirements.lock Makefile
# A copied folder brings its .venv along, which still names the old place: what is installed is marked with the place.
PLACE := $(shell printf %s '$(CURDIR)' | cksum | cut -d ' ' -f 1)
VENV := .venv/.made-$(PLACE)
RUN := .venv/.run-$(PLACE)
TEST := .venv/.test-$(PLACE)
DEV := .venv/.dev-$(PLACE)

help:
	@sed -n 's/^# \(make.*\)/\1/p' Makefile

start: $(RUN)
	@printf '%s\n' 'First job, from another terminal in this folder:' \
		"  $(BIN)/flashq push mail '{\"to\":\"a\"}'" '  $(BIN)/flashq pull mail' '  $(BIN)/flashq ack ID' ''
	@exec $(BIN)/flashq cluster start $(ARGS)

test: $(TEST) debian
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

check: lint types imports audit test

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV)
	$(BIN)/mypy

# pip-audit asks a service which of the pinned versions have known holes, so it needs a network.
audit: $(DEV)
	$(BIN)/bandit -q -c pyproject.toml -r flashq
	$(BIN)/pip-audit --disable-pip --no-deps -r requirements.lock

imports: $(DEV)
	$(BIN)/lint-imports

conformance: $(TEST) debian
	CONFORMANCE_ADDR='$(ADDR)' CONFORMANCE_SHARDS='$(SHARDS)' CONFORMANCE_DATABASE='$(DATABASE)' \
		$(BIN)/python -m pytest -n $(JOBS) -m conformance $(ARGS) tests/conformance

load: $(TEST) debian
	$(BIN)/python -m loadtest $(ARGS)

soak: $(TEST) debian
	$(BIN)/python -m pytest -m soak --timeout 0 -p no:xdist $(ARGS) tests/soak

# What protoc makes of the .proto files is kept with them: nobody who installs flashq needs protoc.
stubs: $(DEV)
	$(BIN)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. --grpc_python_out=. flashq/api/grpc/*.proto

docs: $(RUN)
	$(BIN)/python -m flashq.cli.config_page > docs/configuration.md
	$(BIN)/python -m flashq.cli.protocol_page > docs/protocol.md

# The versions that were tested, of everything; run it in a fresh .venv after changing pyproject.toml.
lock: $(DEV)
	{ sed -n '/^#/p' requirements.lock; $(BIN)/python -m pip freeze --exclude-editable; } > requirements.new
	mv requirements.new requirements.lock

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV):
	@test -n "$(PYTHON)" || { echo 'flashq needs Python 3.11 or later: none was found' >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -q && apt-get install -qy python3-venv \
		&& $(PYTHON) -m venv .venv; } \
		|| { echo 'Python cannot make a virtual environment: install your package python3-venv' >&2; exit 1; }
	@touch $@

$(RUN): $(VENV) $(INPUTS)
	@echo 'Installing flashq into .venv ...'
	@$(PIP) install -c requirements.lock hatchling editables
	@$(PIP) install -c requirements.lock --no-build-isolation -e .
	@touch $@

$(TEST): $(RUN)
	@echo 'Installing what tests need into .venv ...'
	@$(PIP) install -c requirements.lock --no-build-isolation -e '.[test]'
	@touch $@

$(DEV): $(TEST)
	@echo 'Installing what checks need into .venv ...'
	@$(PIP) install -c requirements.lock --no-build-isolation -e '.[dev]'
	@touch $@

# strace injects errors of the disk; beanstalkd is what we measure ourselves against; tests start a PostgreSQL.
debian:
	@missing=; for tool in strace beanstalkd; do \
		PATH="$$PATH:/usr/sbin" command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$$missing postgresql"; \
	test -z "$$missing" && exit 0; \
	if test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get install -qy --no-install-recommends $$missing \
		|| { apt-get update -q && apt-get install -qy --no-install-recommends $$missing; } && exit 0; \
	fi; \
	echo "note:$$missing could not be installed: what needs it will fail and say so" >&2
