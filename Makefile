# `make` lists the targets.
PYTHON ?= python3
PYTEST_ARGS ?= -n 2 --dist worksteal -q

export PREFECT_SERVER_ANALYTICS_ENABLED = false
export DO_NOT_TRACK = 1
export MLFLOW_DISABLE_TELEMETRY = true
export DVC_NO_ANALYTICS = 1
export HF_HUB_DISABLE_TELEMETRY = 1

BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help setup data demo pocket test test-slow test-full test-live lint format lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

# The programs in a virtual environment name its folder: one that was moved or copied is made again.
ifneq ($(shell cat $(READY) 2>/dev/null),$(CURDIR))
$(shell rm -f $(READY))
endif

setup: $(READY) ## virtual environment with the pinned dependencies

# uv does not read pip's settings: a find-links folder known to pip is passed on by its own name.
$(READY): pyproject.toml constraints.txt
	@command -v git >/dev/null || { echo "git is needed; install it first"; exit 1; }
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not here; install Python 3.11 or newer, or name it: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, found " + sys.version.split()[0] + "; name another: make PYTHON=python3.12")'
	@if [ -e $(BIN)/dreamtrace ] && ! grep -qF "$(CURDIR)/.venv/" $(BIN)/dreamtrace; then \
	  echo "this folder was moved or copied: making its virtual environment again"; rm -rf .venv; fi
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { echo "could not make a virtual environment (on Debian: apt install python3-venv)"; rm -rf .venv; exit 1; }
	@test -x $(BIN)/uv || { echo "getting uv"; $(BIN)/python -m pip install --quiet --disable-pip-version-check uv; }
	@echo "installing the pinned dependencies"
	@UV_FIND_LINKS="$${UV_FIND_LINKS:-$${PIP_FIND_LINKS:-$$($(BIN)/python -m pip config get global.find-links 2>/dev/null || true)}}"; \
	  [ -n "$$UV_FIND_LINKS" ] && export UV_FIND_LINKS || unset UV_FIND_LINKS; \
	  PYTHONDONTWRITEBYTECODE= $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[dev]'
	@echo "$(CURDIR)" > $(READY)

demo: setup ## the main job on the embedded base, on two CPU cores
	@$(BIN)/dreamtrace demo

# The photos that data.dvc names come from the DVC remote inside the repository, also after a pull that was cut off. DVC
# replaces no file that it does not hold a copy of: photos of one's own stay.
data: setup
	@$(BIN)/dvc status --quiet data.dvc || $(BIN)/dvc pull --quiet data.dvc || \
	  { echo "data/ is not what data.dvc names and stays as it is: \`dvc pull data.dvc\` says why, \`dvc add data\` keeps your own"; \
	    test -d data; }

test: setup data ## the tests, but for slow ones
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

test-slow: setup data ## the slow ones: whole chains, isolated runs, kills, full disks
	@$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

test-full: setup ## Stable Diffusion v1.5 at full size on the CPU (24 GiB of memory, long)
	@$(BIN)/python -m pytest -m full -q -s

test-live: setup data ## whole runs on real servers: killed, restarted, seen in a browser (half an hour)
	@$(BIN)/python -m pytest -m live -q

lint: setup ## ruff, mypy, and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: setup ## ruff, changing files
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# Compiled with a CPU build of torch, so that no CUDA package is pinned: a CUDA torch brings its own pins.
lock: setup ## resolve constraints.txt again
	@UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}"; \
	  [ -n "$$UV_FIND_LINKS" ] && export UV_FIND_LINKS || unset UV_FIND_LINKS; \
	  $(BIN)/uv pip compile -q pyproject.toml --all-extras --no-annotate --no-header --no-emit-index-url \
	  --no-emit-find-links -o build-constraints.txt >/dev/null
	@{ echo "# The whole resolved set. Made by \`make lock\`; every install uses it."; \
	  sed 's/+cpu$$//' build-constraints.txt; } > constraints.txt && rm build-constraints.txt

RECIPE ?= cpu
pocket: setup ## make the embedded base again: RECIPE=cpu (hours) or gpu (minutes); a killed run goes on
	@for stage in world photographs vae clip text_encoder judge identity unet outline control export; do \
	  $(BIN)/python -m pocket.$$stage --recipe $(RECIPE) --work pocket/work/$(RECIPE) || exit 1; done
	@echo "pocket/work/$(RECIPE)/export holds it; cp -r pocket/work/$(RECIPE)/export/* pocket/ publishes it"

clean: ## remove the virtual environment and caches (never data, runs or models)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
	find pipeline flows pocket examples tests -name __pycache__ -type d -prune -exec rm -rf {} +
