# Everything needs only Python 3.11 or newer and make; .venv is built from hash-pinned requirements.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := samtala room_server client wire vr mls dht
WORKERS ?= 2

.DEFAULT_GOAL := help
ROUNDS ?= 200
SEED ?= $(shell date +%s)
MINUTES ?= 10
MEMBERS ?= 200
.PHONY: help demo test lint fix bench soak defences simulate multihost interop docs dist deb requirements clean

help: ## What can be made
	@sed -n 's/^\([a-z]*\):.*## /  make \1@/p' $(MAKEFILE_LIST) | column -t -s @

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Samtala needs Python 3.11 or newer. Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "Python cannot make virtual environments here. On Debian: apt install python3-venv" >&2; exit 1; }

$(VENV)/.run: requirements/run.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

demo: $(VENV)/.run ## three servers, one room, two people: kill a server and watch
	@$(BIN)/samtala demo $(ARGS)

test: $(VENV)/.dev ## the whole suite
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal

lint: $(VENV)/.dev ## format, lint, types, layers, spelling, dependencies, dead code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/flake8-async --enable ASYNC101,ASYNC102,ASYNC103,ASYNC104,ASYNC111,ASYNC112,ASYNC113,ASYNC118,ASYNC119,ASYNC120 $$(git ls-files '*.py')
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell $(PACKAGES) tests docs changelog.d README.md
	$(BIN)/deptry .
	$(BIN)/vulture

fix: $(VENV)/.dev ## format, and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev ## figures beside this machine's own limits
	$(BIN)/python -m bench

simulate: $(VENV)/.run ## an hour of replication under faults, from fresh seeds
	$(BIN)/python -m vr.simulator --hours 1

soak: $(VENV)/.dev ## a big room that never rests: MINUTES=10 MEMBERS=200 SEED=7; prints JSON
	@$(BIN)/python -m tests.soak --minutes $(MINUTES) --members $(MEMBERS) --seed $(SEED)

defences: $(VENV)/.dev ## break each defence of docs/security.md on a copy, and see its test fail
	$(BIN)/python -m tests.defences

multihost: $(VENV)/.dev ## faults under load, every server on a host of its own (needs root): ROUNDS=200 SEED=7
	$(BIN)/python -m tests.multihost --rounds $(ROUNDS) --seed $(SEED) $(ARGS)

interop: $(VENV)/.dev ## N random histories of groups mixed with ts-mls and core-crypto (needs node and npm)
	$(BIN)/python -m tests.mls.peers --histories $(or $(N),100)

docs: $(VENV)/.dev ## the manual in dist/docs; a warning is an error
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -b html -d dist/doctrees docs dist/docs
	@echo "dist/docs/index.html"

dist: $(VENV)/.dev ## wheel and source distribution in dist/
	$(BIN)/python -m build --no-isolation

deb: $(VENV)/bin/python ## Debian package in dist/, for this machine's Debian
	PIP_PYTHON=$(BIN)/python deploy/debian/build dist

COMPILE := $(BIN)/pip-compile --quiet --upgrade --strip-extras --generate-hashes --allow-unsafe --no-header \
  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options

requirements: $(VENV)/.dev ## renew requirements/*.txt: hashes, no index addresses
	$(COMPILE) --build-deps-for editable --output-file requirements/run.txt pyproject.toml
	$(COMPILE) --extra dev --constraint requirements/run.txt --output-file requirements/dev.txt pyproject.toml

clean: ## forget the environment and caches
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache
