# Every target works in a fresh clone, with CI=true and without a terminal.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# Tests start hundreds of processes; without bytecode files each of them would compile the package anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup lock docs format lint types contracts check test alone acceptance chart golden monitoring cluster image sbom \
	demo bench curves chaos soak fuzz audit screenshots
.DEFAULT_GOAL := help

help: ## lists the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## installs .venv from requirements-dev.lock, and the package with every extra

# A .venv without uv is half-made: by a Python without venv, or by a download that broke off. It is made anew.
$(INSTALLED): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed. To name another: make PYTHON=python3.13 $(MAKECMDGOALS)" >&2; exit 1; }
	@test -x $(BIN)/uv || $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { rm -rf .venv; \
		echo "$(PYTHON) cannot make a virtual environment: it lacks venv. On Debian and Ubuntu, install" \
			"$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')." >&2; exit 1; }
	@test -x $(BIN)/uv || { $(PYTHON) -m venv --clear .venv && $(BIN)/python -m pip install --quiet uv; } || { \
		rm -rf .venv; exit 1; }
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e '.[dev,msk,otel]'
	touch $@

docs: setup ## writes the tables in README, docs/ and helm/README, and the JSON Schemas
	$(BIN)/partner-bridge config schema > schemas/config.json
	$(BIN)/python -m tests.docs.fixture_schema > schemas/fixture.json
	$(BIN)/python -m tests.chart.values_schema > helm/values.schema.json
	$(BIN)/python -m tests.chart.values_defaults > helm/templates/_defaults.tpl
	$(BIN)/python -m cogapp -r README.md docs/*.md helm/README.md

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url pyproject.toml

lock: $(INSTALLED) ## writes the locks, keeping the versions that still fit
	$(COMPILE) --extra msk --extra otel --output-file requirements.lock
	$(COMPILE) --all-extras --constraint requirements.lock --output-file requirements-dev.lock
	$(subst pyproject.toml,,$(COMPILE)) --group build --constraint requirements-dev.lock --output-file requirements-build.lock
	$(BIN)/python -m tests.services.locks

format: setup ## formats the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only --quiet .

lint: setup ## checks style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## checks types
	$(BIN)/mypy

contracts: setup ## checks which package imports which
	$(BIN)/lint-imports

check: format lint types contracts ## the inner loop, under a minute: format, lint, types, contracts, unit tests
	$(BIN)/pytest --quiet --numprocesses auto -m 'not long' tests/unit

# By name: the files of chaos and integration, which take long, come before the many of unit, which fill the end.
test: lint types contracts ## everything that CI runs; Kafka and the registry are real
	$(BIN)/pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder || { test $$? -eq 1 && $(MAKE) --no-print-directory alone; }

alone: # a test that fails beside others for want of CPU passes now; one that fails for another reason fails again
	@echo "The tests that failed are run once more, each alone:"
	$(BIN)/pytest --last-failed --last-failed-no-failures none

acceptance: setup ## finds, sends again and refers to S3 at full scale: 200,000 records, 50 customers, 1,000 large events
	CI=true FULL_SCALE=1 $(BIN)/pytest --numprocesses 0 --timeout 7200 -rP \
		tests/integration/test_find.py::test_find_accounts_for_records_of_every_kind \
		tests/integration/test_resend.py::test_a_time_is_sent_again_through_two_kills \
		tests/integration/test_claim_check.py::test_large_events_go_by_reference_through_a_kill_and_an_outage_of_the_bucket

demo: setup ## the whole bridge on an embedded broker, registry and EventBridge: make demo [KEEP=1]
	$(BIN)/partner-bridge demo $(if $(KEEP),--keep)

chart: setup ## checks the chart: lint, renders, bad values, Kubernetes' schemas, alerts; and the pages
	$(BIN)/pytest tests/chart tests/docs

golden: setup ## renders helm/ci/*.yaml anew into tests/chart/golden
	$(BIN)/python -m tests.chart.render

monitoring: setup ## runs every query of dashboard and alerts against a real Prometheus and bridge
	$(BIN)/pytest --capture=no tests/monitoring/test_queries.py tests/monitoring/bad_day.py

screenshots: setup ## takes the pictures of the page in docs/images, with a real bridge and browser
	$(BIN)/python -m tests.browser.screenshots

cluster: setup ## installs the chart on a real API server, which the first run builds: Go, ten minutes, 3 GB
	$(BIN)/python -m tests.cluster.programs
	$(BIN)/pytest tests/cluster/releases.py

sbom: setup ## writes dist/sbom.cdx.json: the image's packages of Python, with licenses, as CycloneDX
	$(BIN)/uv venv --quiet --clear dist/sbom
	$(BIN)/uv pip install --quiet --python dist/sbom --require-hashes --requirement requirements.lock
	$(BIN)/uv build --quiet --wheel --build-constraints requirements-build.lock --require-hashes --out-dir dist
	$(BIN)/uv pip install --quiet --python dist/sbom --no-deps --no-index --find-links dist kafka-partner-bridge
	$(BIN)/uv tool run --quiet --from cyclonedx-bom==7.5.0 cyclonedx-py environment --output-reproducible \
		--output-file dist/sbom.cdx.json dist/sbom

image: setup ## builds the image (BASE_IMAGE=…) and runs it as Kubernetes would
	IMAGE_TESTS=required $(BIN)/pytest tests/image

bench: setup ## measures the bridge next to a plain boto3 loop and its targets: make bench [QUICK=1] [SAVE=1]
	$(BIN)/python -m tests.bench $(if $(QUICK),--quick) $(if $(SAVE),--save)

curves: setup ## measures how the cost of an event depends on size, keys, latency and others: make curves [SAVE=1]
	$(BIN)/python -m tests.bench.curves $(if $(SAVE),--save)

chaos: setup ## plays faults on real brokers and bridges: make chaos SEED=1 MINUTES=10
	$(BIN)/python -m tests.chaos --seed "$(or $(SEED),0)" --minutes "$(or $(MINUTES),10)"

soak: setup ## runs one bridge under faults for long: make soak MINUTES=10
	$(BIN)/python -m tests.chaos.soak --minutes "$(or $(MINUTES),10)"

fuzz: setup ## damages records and schemas: make fuzz INPUTS=1000000 [ONLY=glue]
	$(BIN)/python -m tests.chaos.fuzz --inputs "$(or $(INPUTS),1000000)" --seed "$(or $(SEED),0)" --only "$(ONLY)"

audit: setup ## checks the pinned dependencies for known vulnerabilities
	$(BIN)/uv tool run --quiet pip-audit --strict --disable-pip --require-hashes -r requirements.lock
