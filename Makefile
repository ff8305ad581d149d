# Writ: two commands on a fresh machine are `make demo` and `make test`. Both install what they need into .venv.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
JOBS ?= 2
PROTOS := $(wildcard controlplane/api/v1/*.proto)

.PHONY: demo test test-long faults agree check lint format proto bench clean help

help:  ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t14

demo: $(VENV)/.demo  ## the whole mesh at work on this machine (ARGS=--keep leaves it running)
	@exec $(BIN)/writ demo $(ARGS)

test: lint  ## static checks, then every quick test, real Envoy included
	$(BIN)/python -m pytest -m "not slow and not soak and not clients" -n $(JOBS) --dist loadfile $(ARGS)

test-long: $(VENV)/.dev $(VENV)/.clients  ## the slow tests
	$(BIN)/python -m pytest -m "slow or soak or clients" --timeout 900 $(ARGS)

faults: $(VENV)/.dev  ## kill, stop, cut off and starve everything, and print what held
	$(BIN)/python -m pytest tests/faults --timeout 600 $(ARGS)

agree: $(VENV)/.dev  ## the three policy engines on ten times as many random decisions (SCENES=n)
	WRIT_AGREE_TIMEOUT_S=86400 WRIT_AGREE_SCENES=$(or $(SCENES),6200) $(BIN)/python -m pytest -s -m slow $(ARGS) \
		tests/policies/test_engines_agree.py tests/agent/envoy/test_engines_agree.py

check: lint test  ## what must hold before a change lands

lint: $(VENV)/.dev  ## format, lint, types, import contracts, generated code fresh
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	./scripts/proto --check

format: $(VENV)/.dev  ## rewrite the layout of the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

proto: $(VENV)/.dev  ## regenerate the gen/ folders from their .proto files
	./scripts/proto

bench: $(VENV)/.dev  ## every figure beside its aim and its floor
	$(BIN)/python -m benchmarks $(ARGS)

$(VENV)/.demo: pyproject.toml scripts/install
	@PYTHON=$(PYTHON) ./scripts/install $(VENV) demo

$(VENV)/.dev: pyproject.toml scripts/install
	@PYTHON=$(PYTHON) ./scripts/install $(VENV) dev

$(VENV)/.clients: $(VENV)/.dev scripts/clients
	@./scripts/clients $(VENV)

clean:  ## remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
