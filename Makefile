# Every target works in a fresh clone, with CI=true and without a terminal.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help setup lock docs format lint types contracts check test demo bench chaos soak fuzz audit
.DEFAULT_GOAL := help

help: ## lists the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## .venv with everything in requirements.lock, and the package with every extra

$(INSTALLED): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e '.[dev,msk]'
	touch $@

docs: setup ## writes the tables in README
	$(BIN)/python -m cogapp -r README.md
	$(BIN)/partner-bridge config schema > schemas/config.json

lock: $(INSTALLED) ## writes requirements.lock from pyproject.toml, keeping what still fits
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes \
		--no-header --no-emit-index-url --output-file requirements.lock pyproject.toml

format: setup ## formats the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only --quiet .

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

contracts: setup
	$(BIN)/lint-imports

check: format lint types contracts ## the inner loop, under 60 s: format, lint, types, contracts, unit tests
	$(BIN)/pytest --quiet tests/unit

test: lint types contracts ## everything CI runs; Kafka and the registry are real
	$(BIN)/pytest

demo: setup ## the whole bridge on an embedded broker, registry and EventBridge: no Docker, no AWS
	$(BIN)/partner-bridge demo

bench: setup ## CPU, throughput and memory, next to a plain boto3 loop
	$(BIN)/python -m tests.bench

chaos: setup ## the fault machine: make chaos SEED=1 MINUTES=10
	$(BIN)/python -m tests.chaos --seed "$(or $(SEED),0)" --minutes "$(or $(MINUTES),10)"

soak: setup ## the same process for long: make soak MINUTES=10
	$(BIN)/python -m tests.chaos.soak --minutes "$(or $(MINUTES),10)"

fuzz: setup ## hostile bytes: make fuzz INPUTS=1000000
	$(BIN)/python -m tests.chaos.fuzz --inputs "$(or $(INPUTS),1000000)" --seed "$(or $(SEED),0)"

audit: setup ## known holes in what is pinned; fails also where one of them cannot be looked up
	$(BIN)/uv tool run --quiet pip-audit --strict --disable-pip --require-hashes -r requirements.lock
