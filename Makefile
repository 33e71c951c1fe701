# Everything runs in an environment that is made once, and made again only when pyproject.toml or constraints.txt changes.
# It is .venv; a Python named by its version has one of its own (`make test PYTHON=python3.12`: .venv-3.12).
PYTHON ?= python3
RUN ?= runs/demo
WORKERS ?= 2

ENVIRONMENT := .venv$(patsubst python%,-%,$(filter-out python python3,$(notdir $(PYTHON))))
BIN := $(ENVIRONMENT)/bin
VENV := $(ENVIRONMENT)/.installed
MANUAL := $(ENVIRONMENT)/.manual
DASK := $(ENVIRONMENT)/dask
SUMMARY := $(RUN)/summary.json
TABLE := $(RUN)/landscape.txt

# What may break under another Python or with other versions of the parts.
QUICK := tests/test_import.py tests/test_walk.py

# pyenv answers for its default Python alone, unless it is told of the others.
ifneq ($(and $(filter-out .venv,$(ENVIRONMENT)),$(shell command -v pyenv)),)
ifndef PYENV_VERSION
export PYENV_VERSION := $(shell pyenv version-name):$(shell pyenv versions --bare | paste -sd: -)
endif
endif

.PHONY: help venv test tests quick demo science browser notebooks docs dist lint types clean
# Make deletes the target of an interrupted rule; a run directory is whole at every moment and stays.
.PRECIOUS: $(SUMMARY)

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(VENV)  ## the environment alone, every part at the version in constraints.txt

$(VENV): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 10) and "pyro_nld needs Python 3.10 or newer: got %d.%d. Name one: make PYTHON=python3.11" % v[:2])'
	$(PYTHON) -m venv $(ENVIRONMENT)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,kinetics,notebooks,report,tables]'
	touch $@

test: lint types tests  ## style, types, tests

tests: $(VENV)  ## tests alone
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal --durations=20 $(and $(MARKS),-m '$(MARKS)')

quick: $(VENV)  ## half a minute of tests, for the other Pythons: make quick PYTHON=python3.12
	$(BIN)/python -m pytest $(QUICK)

demo: $(TABLE)  ## fit the paper's three-state data and read the landscape (another place: make demo RUN=runs/mine)
	@cat $(TABLE)

$(TABLE): $(SUMMARY)
	$(BIN)/python inference/landscape.py $(RUN) > $(TABLE).part
	mv $(TABLE).part $(TABLE)

# The environment is no reason to fit again, only something a fit needs; a fit that was cut off goes on.
$(SUMMARY): | $(VENV)
	$(BIN)/python inference/fit.py models/three_state_switching.py --out $(RUN) --budget default $(if $(wildcard $(RUN)/config.json),--resume)

science: $(DASK)/.installed  ## the slow evidence, up to an hour
	PYTHONPATH=$(DASK) $(BIN)/python -m pytest -m dask tests/fitting/test_jobs.py
	$(BIN)/python -m pytest -m science --numprocesses $(WORKERS)

# Beside the environment: xarray imports it to write a file wherever it finds it, .3 s of every process.
$(DASK)/.installed: $(VENV)
	rm -rf $(DASK)
	$(BIN)/python -m pip install --quiet --target $(DASK) --no-deps dask==2026.8.0 distributed==2026.8.0 locket==1.0.0 \
		msgpack==1.2.4 partd==1.4.2 tblib==3.2.2 toolz==1.2.0 zict==3.0.0 importlib_metadata==8.7.0 zipp==3.23.0
	touch $@

browser: $(VENV)  ## the report page in chromium (Debian: apt install chromium chromium-driver)
	$(BIN)/python -m pytest -m browser tests/report/test_page.py

notebooks: $(VENV)  ## execute notebooks/ from their first cell to their last
	$(BIN)/python -m pytest -m notebooks --numprocesses $(WORKERS) --durations=0 tests/test_notebooks.py

docs: $(MANUAL)  ## the manual, into build/manual; it needs no network to read, and any warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --config-file docs/mkdocs.yml
	@echo "Wrote build/manual. Open build/manual/index.html in a browser."

dist: $(VENV)  ## a release into dist/: built, checked, its wheel installed alone and imported
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m pytest -m release tests/test_release.py

$(MANUAL): $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[manual]'
	touch $@

lint: $(VENV)  ## ruff: faults, and the format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)  ## mypy
	$(BIN)/mypy

clean:  ## remove all that was built or installed; runs/ stays
	rm -rf .venv .venv-* build dist .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
