# Every command of the project; `make` alone lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
FRAMEWORKS := $(VENV)/.installed-frameworks
LAB := $(VENV)/.installed-lab
SITE_TESTS := $(VENV)/.installed-site

# Where Linux finds torch without CUDA, which the book does not use: two gigabytes less. Empty: the default index.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

# uv installs faster, where there is one.
UV := $(shell command -v uv 2>/dev/null)
MAKE_VENV := $(if $(UV),$(UV) venv --quiet --seed --allow-existing --python $(PYTHON),$(PYTHON) -m venv)
INSTALL := $(if $(UV),$(UV) pip install --python $(BIN)/python,$(BIN)/python -m pip install --disable-pip-version-check)

# Small matrices: more threads than this only wait for one another.
export OMP_NUM_THREADS ?= 2
# A reader's own matplotlibrc or IPython profile would change figures and outputs: look for them in here instead.
export MPLCONFIGDIR := $(CURDIR)/$(VENV)/matplotlib
export IPYTHONDIR := $(CURDIR)/$(VENV)/ipython

.DEFAULT_GOAL := help
.PHONY: help book pdf test lab test-site frameworks mutants run results bench lint serve clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

# The stamp is written last, so an interrupted install is taken up again the next time.
$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, and '$(PYTHON)' is not. Name another: make book PYTHON=python3.12"; exit 1; }
	rm -f $(INSTALLED)
	$(MAKE_VENV) $(VENV)
	@# An address that does not answer within seconds is left alone; then the next line installs the default torch.
	@if [ "$$(uname -s)" = Linux ] && [ -n "$(TORCH_INDEX)" ]; then \
	  $(BIN)/python tools/reachable.py "$(TORCH_INDEX)/torch/" \
	  && $(INSTALL) "$$(grep '^torch==' requirements.txt)" --index-url "$(TORCH_INDEX)" \
	  || echo "$(TORCH_INDEX) was not of use: the default torch is installed, which is larger."; fi
	$(INSTALL) -r requirements.txt
	@# Building the font cache now keeps its message out of the first notebook that draws.
	@mkdir -p $(VENV)/matplotlib $(VENV)/ipython
	$(BIN)/python -c 'import matplotlib.font_manager'
	@# `git diff` shows a notebook as text; a copy without git has nothing to be told.
	@test ! -e .git || git config diff.ipynb.textconv '$(PYTHON) tools/notebook_text.py' || :
	@touch $(INSTALLED)

# From nothing each time: a second, incremental build does not repeat the warnings of pages it does not read again.
book: $(INSTALLED) ## build the site, warnings as errors, and say where to open it
	rm -rf _build
	$(BIN)/jupyter-book build . --all -W -n --keep-going
	@echo
	@echo "The book is built. Open  file://$(CURDIR)/_build/html/index.html  or run: make serve"

pdf: $(SITE_TESTS) book ## the whole book as one PDF, printed by chromium
	$(BIN)/python tools/print_book.py
	@echo "It is printed: _build/batch-normalization.pdf"

test: $(INSTALLED) ## every unit test, then every notebook against its stored outputs
	$(BIN)/python -m pytest --nbval --nbval-cell-timeout=600 tests book
	@echo "No browser was asked. The built site is read in one by: make test-site"

$(LAB): $(INSTALLED) requirements-site.txt
	$(INSTALL) $$(grep '^jupyterlab' requirements-site.txt)
	@touch $(LAB)

lab: $(LAB) ## open the chapters in JupyterLab, to run them and change them
	$(BIN)/jupyter-lab book/introduction.ipynb

$(SITE_TESTS): $(INSTALLED) requirements-site.txt
	$(INSTALL) -r requirements-site.txt
	@touch $(SITE_TESTS)

SITE_ARGS ?=
test-site: $(SITE_TESTS) book ## build the site and read every page of it in the browsers at hand, in half an hour
	BOOK_SITE=_build/html $(BIN)/python -m pytest tests/site $(SITE_ARGS)

$(FRAMEWORKS): $(INSTALLED) requirements-frameworks.txt
	rm -f $(FRAMEWORKS)
	$(INSTALL) -r requirements-frameworks.txt
	@touch $(FRAMEWORKS)

frameworks: $(FRAMEWORKS) ## install the other frameworks too, and run what compares with them
	$(BIN)/python -m pytest --nbval --nbval-cell-timeout=600 \
	  tests/reference/test_frameworks.py tests/engines tests/figures/test_touch.py book/frameworks.ipynb

mutants: $(INSTALLED) ## change the code in 1,800 small ways and list what no test notices, in a quarter of an hour
	$(INSTALL) mutmut==3.8.1
	$(BIN)/mutmut run --max-children 1
	@echo "What became of the mutants of each module, then the survivors; look at one with: $(BIN)/mutmut show NAME"
	@$(BIN)/mutmut results --all true | sed 's/\.x.*: / /' | sort | uniq -c
	@$(BIN)/mutmut results

NOTEBOOKS ?=
run: $(INSTALLED) ## execute every notebook again, in place (one: make run NOTEBOOKS=book/algorithm.ipynb)
	$(BIN)/python tools/run_notebooks.py $(NOTEBOOKS)

results: $(INSTALLED) ## train the stored experiments that are missing or were stopped, in some hours
	$(BIN)/python -m bnlib.sweep --all --jobs -1

# With OUT=benchmarks the stored records are replaced; the chapters that read them then have to be run again.
BENCHMARKS ?= layers training
bench: $(INSTALLED) ## time the layers and the sweep on an idle machine (one: make bench BENCHMARKS=layers)
	for name in $(BENCHMARKS); do \
	  $(BIN)/python benchmarks/$$name.py $(if $(OUT),--out $(OUT)/$$name.json) || exit 1; done

lint: $(INSTALLED) ## check style and formatting, notebooks included
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

serve: ## serve the built site at http://localhost:8000
	@test -e _build/html/index.html || { echo "Nothing to serve yet. Run: make book"; exit 1; }
	$(PYTHON) -m http.server --directory _build/html 8000

clean: ## remove the environment, the site and all caches
	rm -rf $(VENV) _build mutants .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
