# Two commands: `make repro` runs the pipeline end to end, `make test` passes the tests. Each makes .venv by itself, as `make install` does.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export RAY_USAGE_STATS_ENABLED := 0
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: install repro test test-slow test-cluster submit lint bench ui preset docs table-1 table-2 table-3 table-4

install: .venv/installed

repro: .venv/installed
	dvc repro
	dvc metrics show

# Two processes: most tests wait for Ray to start. Files stay whole, as their tests share fixtures.
test: .venv/installed
	pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder

test-slow: .venv/installed
	pytest -m "slow and not cluster"

test-cluster: .venv/installed
	pytest -m cluster tests/cluster

# The pipeline as a job of a Ray cluster: RAY_API_SERVER_ADDRESS names its dashboard, SHARED the checkout as the machines
# of the cluster see it, ARGS what `dvc repro` gets. They reach the command through the environment, never through a shell.
submit: .venv/installed
	@python -m pipeline.runtime.submit

lint: .venv/installed
	ruff check .
	ruff format --check .
	lint-imports
	mypy

bench: .venv/installed data/demo
	python -m benchmarks.sism speed data/demo/train
	python -m benchmarks.predict speed
	python -m benchmarks.folder docs/photographs

data/demo: .venv/installed
	dvc repro demo

# Write a preset into params.yaml: make preset NAME=paper
preset: .venv/installed
	python -m pipeline.cli.preset "$$NAME"

# The pages that are generated from the code: docs/params.md
docs: .venv/installed
	python -m pipeline.cli.params_page

table-1 table-2 table-3 table-4: .venv/installed
	cosal table $(@:table-%=%) $(ARGS)

ui: .venv/installed
	mlflow ui --backend-store-uri $${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@
