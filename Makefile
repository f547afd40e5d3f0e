# `make` alone prints what there is. Needs Python >= 3.11, git and make; brings the rest itself.

.DEFAULT_GOAL := help
SHELL := /bin/sh

UV_VERSION := 0.13.9
UV := .uv/bin/uv
BIN := .venv/bin
READY := .venv/.ready
# Certificates that the machine trusts, not only those that uv brings.
export UV_SYSTEM_CERTS := 1
export UV_PYTHON_DOWNLOADS := never

.PHONY: help
help: ## print this
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: dev
dev: $(READY) ## run everything: PostgreSQL, Dagster, the REST API, demo agents
	@exec $(BIN)/schedules dev

# Much of a test is waiting, so two at a time; what starts the whole house, which mostly waits for the
# next minute, comes after the rest, in the order in which the two are busy equally long. pytest says 5
# when ARGS leave nothing to run.
.PHONY: test
test: $(READY) ## run all tests (ARGS="-k word" to choose)
	@$(BIN)/pytest -n 2 --dist loadfile -m "not e2e" $(ARGS) || [ $$? -eq 5 ]
	@$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m e2e $(ARGS) || [ $$? -eq 5 ]

.PHONY: lint
lint: $(READY) ## style and format
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { $(BIN)/ruff format --check .; exit 1; }

.PHONY: format
format: $(READY) ## rewrite the sources in the house's format
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

.PHONY: types
types: $(READY) ## check types, strictly
	@$(BIN)/mypy

.PHONY: layers
layers: $(READY) ## check who imports whom
	@$(BIN)/lint-imports

.PHONY: check
check: lint types layers test ## all of the above: what CI asks for

.PHONY: bench
bench: $(READY) ## measure (see bench/)
	@$(BIN)/python -m bench $(ARGS)

.PHONY: openapi
openapi: $(READY) ## write docs/openapi.json anew
	@$(BIN)/python -m schedules_pipeline.api.document > docs/openapi.json

.PHONY: soak
soak: $(READY) ## break everything for an hour and judge (see docs/proof.md)
	@$(BIN)/python -m soak $(ARGS)

.PHONY: fuzz
fuzz: $(READY) ## throw thousands of made-up requests at the API
	@$(BIN)/python -m fuzz $(ARGS)

.PHONY: env
env: $(READY) ## only build the environment in .venv
	@:

.PHONY: lock
lock: $(UV) ## resolve the dependencies anew into requirements.lock
	@$(UV) pip compile --quiet --universal --generate-hashes --no-header --extra dev \
		--python-version 3.11 --output-file requirements.lock pyproject.toml

.PHONY: clean
clean: ## remove the environment and caches (not .schedules, which holds your data)
	@rm -rf .venv .uv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Everything in requirements.lock is checked by its hash. Built anew only when a file on the right
# is newer.
$(READY): requirements.lock pyproject.toml $(UV)
	@echo "Building the environment in .venv …" >&2
	@$(UV) venv --quiet --allow-existing --python .uv/bin/python .venv
	@$(UV) pip sync --quiet --require-hashes --python $(BIN)/python requirements.lock
	@$(UV) pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	@touch $@

$(UV):
	@python=$$(for name in python3 python3.13 python3.12 python3.11 python; do \
		$$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
			&& { echo $$name; break; }; \
	done); \
	if [ -z "$$python" ]; then \
		echo "Python 3.11, 3.12 or 3.13 is needed; none was found in PATH." >&2; exit 1; \
	fi; \
	if ! $$python -c 'import venv, ensurepip' 2>/dev/null; then \
		echo "$$python has no venv module: install it (Debian, Ubuntu: python3-venv)." >&2; exit 1; \
	fi; \
	$$python -m venv --clear .uv && \
	.uv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"
