# The menu. Every target makes .venv first where it is missing, and repeats nothing that is done.
.DEFAULT_GOAL := help
.PHONY: help install run demo test check chaos closing-time crowd simulation bench fuzz audit schemas up down format lock clean
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# Most tests wait for processes that they started: three beside each other keep two cores busy. One by one: BESIDE=
BESIDE ?= -n 3 --dist loadgroup --maxschedchunk 1
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# pip resolves nothing: a lock is complete, and what is not in it is not installed. deploy/README.md, "Locks"
LOCKED := --require-hashes --no-deps
PIPS := $(wildcard tests/deploy/pips/*.txt)
WITH_BROKER := $(BIN)/python deploy/local/broker.py --

help: ## this menu
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## .venv with the command zenoti-ingest in it

$(STAMP): pyproject.toml schemas/pyproject.toml requirements-dev.txt $(PIPS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "zenoti-ingest wants Python 3.11 or newer; name one: make PYTHON=python3.12 …"; exit 1; }
	@echo "Installing into .venv …"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP_INSTALL) $(LOCKED) -r requirements-dev.txt
	@$(PIP_INSTALL) --no-deps --no-build-isolation -e . -e ./schemas
	@$(BIN)/python -m pip check --disable-pip-version-check
	@for pip in $(PIPS); do $(PIP_INSTALL) $(LOCKED) -r $$pip --upgrade --target .venv/pips/$$(basename $$pip .txt) || exit 1; done
	@touch $@

run: $(STAMP) ## everything on real parts, with a live table, until Ctrl-C
	@$(WITH_BROKER) $(BIN)/python -m deploy.local.journey run

demo: $(STAMP) ## the same journey, checked; ends by itself
	@$(WITH_BROKER) $(BIN)/python -m deploy.local.journey demo

test: $(STAMP) ## all tests, on a real RabbitMQ
	@$(WITH_BROKER) $(BIN)/pytest $(BESIDE) $(ARGS)

chaos: $(STAMP) ## break everything, count every event: MINUTES=20 SEED=1 NODES=3 SCENARIO=outage|away|soak|partial RABBITMQ=folder ARGS=…
	@$(BIN)/python -m tests.chaos --scenario $(or $(SCENARIO),chaos) $(if $(MINUTES),--minutes $(MINUTES)) --nodes $(or $(NODES),3) $(if $(SEED),--seed $(SEED)) $(if $(RABBITMQ),--rabbitmq $(RABBITMQ)) $(ARGS)

closing-time: $(STAMP) ## what the quota is used for when all salons close: SPEED=20 PROCESSES=2 (docs/quota.md)
	@$(WITH_BROKER) $(BIN)/python -m tests.bench.closing_time --speed $(or $(SPEED),20) --processes $(or $(PROCESSES),2) $(ARGS)

crowd: $(STAMP) ## good requests beside 5,000 slow or idle connections: ARGS="--turns 5 --crowd 5000" (docs/door.md)
	@$(WITH_BROKER) $(BIN)/python -m tests.bench.crowd $(ARGS)

simulation: $(STAMP) ## the real stages in simulated worlds: SEEDS=1000 FIRST=0 MINUTES=5, or one world's story: SEED=n TRACE=1 SHRINK=1
	@$(BIN)/python -m tests.simulation.run $(if $(SEED),--seed $(SEED) $(if $(TRACE),--trace) $(if $(SHRINK),--shrink),--seeds $(or $(SEEDS),200) --first $(or $(FIRST),0) $(if $(MINUTES),--minutes $(MINUTES)))

bench: $(STAMP) ## the product and the obvious loops by turns: ARGS="--only door,way", --micro, --backlog 500000 (docs/benchmarks.md)
	@$(BIN)/python -c 'import faststream, httpx, pydantic' 2>/dev/null || { $(PIP_INSTALL) $(LOCKED) -r requirements-bench.txt && $(BIN)/python -m pip check --disable-pip-version-check; } || echo "FastStream and its friends cannot be installed"
	@$(WITH_BROKER) $(BIN)/python -m tests.bench.speed $(ARGS)

fuzz: $(STAMP) ## strangers' bytes against a parser, guided by coverage: TARGET=webhook MINUTES=5 (no TARGET: each in turn)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || { $(PIP_INSTALL) $(LOCKED) -r requirements-fuzz.txt && $(BIN)/python -m pip check --disable-pip-version-check; }
	@for target in $(or $(TARGET),webhook delivered signature answer headers configuration); do $(BIN)/python -m tests.fuzz.run $$target $(or $(MINUTES),5) || exit 1; done

audit: $(STAMP) ## vulnerabilities, licences and an SBOM of what runs in production; 3: not audited
	@$(BIN)/python deploy/audit.py

check: $(STAMP) ## format, lint, types, imports, unit tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/pytest -q tests/unit

schemas: $(STAMP) ## JSON Schema, AsyncAPI, OpenAPI, the pages of settings and metrics, from the code
	@$(BIN)/python -m zenoti_ingest.operations.schemas

up: $(STAMP) ## everything in containers, with the simulator (Docker Compose; deploy/README.md)
	@$(BIN)/python deploy/compose/prepare.py
	@ZENOTI_BASE_URL=http://simulator:8070 docker compose -f deploy/compose.yaml --profile simulator up --build --detach --wait

down: ## stop it; volumes stay
	@docker compose -f deploy/compose.yaml --profile simulator --profile tool down

format: $(STAMP) ## put the code into shape
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# --no-strip-extras: pip up to 23 looks for the newest `name[extra]` where the lock has `name` alone.
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-emit-index-url --no-header
lock: ## write the locks anew from pyproject.toml (wants uv)
	@$(COMPILE) pyproject.toml -o requirements.txt
	@$(COMPILE) pyproject.toml --group dev -o requirements-dev.txt
	@$(COMPILE) --group build -o requirements-build.txt
	@$(COMPILE) --all-extras pyproject.toml -o requirements-extras.txt
	@$(COMPILE) --group audit -o requirements-audit.txt
	@$(COMPILE) --group fuzz -o requirements-fuzz.txt
	@$(COMPILE) --constraint requirements-dev.txt --group bench -o requirements-bench.txt
	@echo pip | $(COMPILE) --upgrade - -o tests/deploy/pips/newest.txt
	@echo pip==23.0.1 | $(COMPILE) - -o tests/deploy/pips/debian-12.txt

clean: ## remove .venv, var and caches
	@rm -rf .venv var .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache worker/*.egg-info schemas/*.egg-info
