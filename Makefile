# Every target has a one-line help; `make help` prints them. CI calls the same ones.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3.11
S ?=
MINUTES ?= 10
# Most tests wait for real services most of the time: more of them than cores.
WORKERS ?= 4
MOVIELENS_DIR ?=
# The images' lock files say the versions that the tests ran with: those of dev.txt.
IMAGES = consumer exporter importer inference load migrations probe trainer ui
export PYTHONPATH := $(CURDIR)

.PHONY: help setup demo loop stop status logs clean check test lint format faults soak bench quality lock env dashboards

help: ## print this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/.complete .venv-airflow/.complete ## make the two virtual environments from the lock files

.venv/.complete: infra/requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo 'Python 3.11 is needed: make PYTHON=/path/to/python3.11 …' >&2; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --disable-pip-version-check --require-hashes -r $<
	@touch $@

.venv-airflow/.complete: infra/requirements/airflow.txt
	$(PYTHON) -m venv .venv-airflow
	.venv-airflow/bin/python -m pip install --disable-pip-version-check --require-hashes -r $<
	@touch $@

env: ## make .env, or add the secrets that it lacks; Docker Compose needs no more
	@python3 -m infra.local.env_file

demo: setup ## run the whole loop on real data, prove it, leave it running
	.venv/bin/python -m infra.local.demo

loop: setup ## prove the loop again on the running stack
	.venv/bin/python -m infra.local.loop

stop: setup ## stop the stack; its data stay in .local
	.venv/bin/python -m infra.local down

status: setup ## show what runs, since when and where
	.venv/bin/python -m infra.local status

logs: setup ## follow a program's log: make logs S=consumer
	@test -n '$(S)' || { echo 'name a program: make logs S=consumer' >&2; exit 2; }
	.venv/bin/python -m infra.local logs $(S)

clean: ## stop the stack and delete its state and both environments
	@if [ -x .venv/bin/python ]; then .venv/bin/python -m infra.local clean; \
	elif [ -d .local ]; then echo 'without .venv the stack cannot be stopped: .local stays' >&2; fi
	rm -rf .venv .venv-airflow .mypy_cache .ruff_cache .pytest_cache .hypothesis

lint: setup ## ruff and mypy
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format: setup ## let ruff format and sort the code
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

check: lint ## lint, types and unit tests, for the daily round
	.venv/bin/python -m pytest -q -n $(WORKERS) --dist worksteal tests/unit

test: ## lint, types and all tests but the long ones
	@$(MAKE) --no-print-directory -j2 lint tools # two environments, downloads, builds and mypy: side by side
	.venv/bin/python -m pytest -m 'not slow and not serial' -n $(WORKERS) --dist worksteal --durations=15
	.venv/bin/python -m pytest -m 'serial and not slow' --durations=5

faults: setup ## the fault tests of the stream's guarantee, all of them
	.venv/bin/python -m pytest tests/faults -v

soak: setup ## random kills under load: make soak MINUTES=10
	.venv/bin/python -m tests.faults.soak --minutes $(MINUTES)

bench: setup ## what the project claims to be fast, measured
	.venv/bin/python -m tests.bench

quality: setup ## offline quality on MovieLens 1M: make quality MOVIELENS_DIR=…
	@test -n '$(MOVIELENS_DIR)' || { echo 'name the folder with MovieLens 1M: make quality MOVIELENS_DIR=…' >&2; exit 2; }
	.venv/bin/python -m tests.bench.quality --movielens '$(MOVIELENS_DIR)'
	.venv/bin/python -m tests.bench.ratings --movielens '$(MOVIELENS_DIR)'

dashboards: setup ## write Grafana's dashboards anew from grafana/*.py
	.venv/bin/python -m grafana.generate

lock: setup ## write the lock files anew from infra/requirements/*.in
	cd infra/requirements && for name in dev airflow; do \
	  ../../.venv/bin/uv pip compile --upgrade --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-header --no-annotate $$name.in -o $$name.txt; done; \
	for name in $(IMAGES); do \
	  ../../.venv/bin/uv pip compile --upgrade --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-header --no-annotate --constraint dev.txt $$name.in -o $$name.txt; done

.PHONY: tools
tools: setup
	@.venv/bin/python -m tests.support.tools
