# `make help` lists the targets. Everything runs in .venv, which is built on first use and brought
# up to date when a requirements file changes; a stamp is written only after pip has succeeded.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.requirements.stamp
DEV_STAMP := $(VENV)/.requirements-dev.stamp
DEV_REQUIREMENTS := requirements/dev.txt requirements/docs.txt

# Where the driver of an NVIDIA GPU answers, what TensorFlow needs to use it is installed too; CUDA=0
# leaves it out, CUDA=1 installs it in any case.
CUDA ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo 1 || echo 0)
REQUIREMENTS = -r requirements.txt $(if $(filter-out 0,$(CUDA)),-r requirements/cuda.txt)

# Additional words for run.py or pytest: make demo ARGS="--train_steps=20".
ARGS ?=

# Tests run in so many processes; most of a test's time is spent tracing, which has one thread.
WORKERS ?= 2
PARALLEL = -n $(WORKERS) --dist worksteal

# Minutes of processor time that all tests take on one machine; far above that, by a yardstick on any
# other, they fail (tests/processor_time.py).
BUDGET := 40

IN_RANGE := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))

# Each candidate is run, not just looked up: a version manager's shim may lead nowhere.
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3.10 python3 python; do \
	"$$name" -c '$(IN_RANGE)' 2>/dev/null && { echo "$$name"; break; }; done)

export TF_CPP_MIN_LOG_LEVEL ?= 2

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-fast lint bench fuzz docs format clean

help:  ## Show this list.
	@sed -n 's/^\([a-z-]*\): .*## \(.*\)/\1|\2/p' Makefile \
		| awk -F '|' '{ printf "make %-10s %s\n", $$1, $$2 }'

demo: $(STAMP)  ## Train and evaluate on the embedded data set (ARGS="--flag=value ...").
	$(BIN)/python run.py --mode=train_then_eval $(ARGS)

test: $(DEV_STAMP)  ## Run all tests (ARGS="tests/models -x", WORKERS=0 for one process).
	$(BIN)/python -m pytest $(PARALLEL) --budget=$(BUDGET) $(ARGS)

test-fast: $(DEV_STAMP)  ## Run the tests that are not in tests/slow.txt.
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow" $(ARGS)

lint: $(DEV_STAMP)  ## Check style, format and types.
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

bench: $(STAMP)  ## Measure speed in the smoke size, a minute (ARGS="step --size=short").
	$(BIN)/python -m benchmarks.run --size=smoke $(ARGS)

fuzz: $(STAMP)  ## Run hostile commands and files, 10 minutes (ARGS="--minutes=60 --seed=2").
	$(BIN)/python -m fuzz $(ARGS)

docs: $(DEV_STAMP)  ## Make the pages of docs/ and the API reference a site, in docs/_build/html.
	$(BIN)/python -c "from simclr_tf.flags import usage; print(usage.flags_page(), end='')" > docs/flags.md
	$(BIN)/python -m sphinx -q -b html docs docs/_build/html
	@echo docs/_build/html/index.html

format: $(DEV_STAMP)  ## Format the code and fix what can be fixed.
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

clean:  ## Remove .venv, build outputs and caches; runs/ stays.
	rm -rf $(VENV) build dist docs/_build docs/api *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): requirements.txt
	@rm -f $@ $(DEV_STAMP)
	@python="$(PYTHON)"; \
	$(BIN)/python -m pip --version >/dev/null 2>&1 && exit 0; \
	"$$python" -c '$(IN_RANGE)' 2>/dev/null || { \
		echo "Python 3.10 to 3.13 is needed: install one, or run make PYTHON=/path/to/python." >&2; \
		exit 1; }; \
	"$$python" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$$python lacks the venv module (Debian and Ubuntu: apt install python3-venv)." >&2; \
		exit 1; }; \
	echo "Creating $(VENV) with $$("$$python" --version)"; \
	rm -rf $(VENV) && "$$python" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	$(BIN)/python -m pip install $(strip $(REQUIREMENTS))
	@touch $@

$(DEV_STAMP): $(DEV_REQUIREMENTS) $(STAMP)
	@rm -f $@
	$(BIN)/python -m pip install $(DEV_REQUIREMENTS:%=-r %)
	@touch $@
