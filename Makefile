# Everything biomark needs, one word each. `make` alone says what there is.
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
# CPU=1, here or in the environment, takes PyTorch's wheels without CUDA: a third of the size.
CPU ?=
CPU_WHEELS := --extra-index-url https://download.pytorch.org/whl/cpu
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SWEEPS := $(VENV)/.sweeps
PAGES := $(VENV)/.pages
PEERS := $(VENV)/.peers
LAB := $(VENV)/.lab

CHAPTERS := $(sort $(wildcard book/*.ipynb))
NOTEBOOKS := $(sort $(wildcard book/*.ipynb workflow/*.ipynb))
INPUTS := biomark $(wildcard book/params book/reference) pyproject.toml requirements/constraints.txt
SEEN := _build/.inputs
CODE := biomark book tests workflow
comma := ,

# The library keeps trained models here, so that tests and book train each of them once.
export BIOMARK_RUNS := $(CURDIR)/runs
# What make bench measures, one script of tests/benchmarks each.
BENCHES := step pipeline together metrics agatston components reading cardiac
# Where make test puts the chapters with their smallest parameters.
SMALL := runs/small
# The laboratory's models are smaller than those of `make pretrained`.
SMALLER := --into book/reference/laboratory --seed 0 --n-train 800 --n-test 100 --n-calibrate 150
# Where make preview builds the pages from such runs.
PREVIEW := runs/preview/_build
# A notebook draws with its kernel's own backend; one inherited from the shell would leave the figures out.
unexport MPLBACKEND

# A file of tests after another on each of a few processors, each with one thread.
TESTING := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n logical --maxprocesses 4 --dist loadfile

# $(call step,WHAT,COMMAND) says what starts, runs it, and says how long it took.
step = @printf '\n==> %s\n' '$(1)'; t=$$(date +%s); ( $(2) ) || exit; printf '    %s: %d s\n' '$(1)' $$(($$(date +%s) - t))
# Notebooks are kept without outputs; only where a cell is tagged keep_output do its output and its count stay.
stripping = for n in $(NOTEBOOKS); do $(BIN)/nbstripout --keep-id $(1) $$(grep -q keep_output "$$n" && echo --keep-count) "$$n" || exit; done

.PHONY: help setup fresh book preview check-pages colab zip pdf test smoke run lab sweep bench times badges hero laboratory pretrained tidy clean

help:
	@echo 'make setup      create $(VENV) and install biomark with what the book needs (minutes; other targets do it for you)'
	@echo 'make book       run the chapters and build the site into _build/html'
	@echo 'make preview    build all pages from the chapters run as small as they go (minutes), into $(PREVIEW)/html'
	@echo 'make check-pages  open every page of the built book in a browser, move the sliders, and say what is wrong'
	@echo 'make colab      write the chapters as notebooks for Colab, which does not show MyST, into _build/colab'
	@echo 'make zip        pack the built book, to be read from disk, into _build/biomark.zip'
	@echo 'make pdf        print the pages of the built book into _build/biomark.pdf, with a browser'
	@echo 'make test       check style, run the tests, and run every chapter small and cell by cell (make book runs them at full size)'
	@echo 'make smoke      run every chapter as small as it goes, into runs/smoke'
	@echo 'make run        run one chapter with your own values, into a new folder: make run CHAPTER=07 ARGS="-p seed 3"'
	@echo 'make lab        open the chapters in JupyterLab, their text as the pages show it'
	@echo 'make sweep      train and compare all models of workflow/sweep.yml; a try-out in minutes: make sweep ARGS="--config depth=quick"'
	@echo 'make bench      time every hot path beside its best peer, into runs/bench (half an hour on a quiet machine)'
	@echo 'make times      run each chapter alone at full size, and write what it says of its time (half an hour)'
	@echo 'make badges     rewrite the links and results in README.md and on the front page, and the Colab cells'
	@echo 'make hero       draw the picture of README and front page again'
	@echo 'make laboratory train the small model of the laboratory page again'
	@echo 'make pretrained train the models that come with the library, bm.pretrained, again (hours)'
	@echo 'make tidy       format the code and strip the notebooks, as make test wants them'
	@echo 'make clean      remove what was built; $(VENV), the trained models and your runs in runs stay'
	@echo
	@echo 'PYTHON=python3.12 picks the Python for the setup, CPU=1 takes PyTorch without CUDA (1.8 GB in place of 5.1),'
	@echo 'TORCH="torch==2.13.0 ..." another build of it.'

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml requirements/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || \
	{ echo 'biomark needs Python 3.11, 3.12 or 3.13, and "$(PYTHON)" is not one of them: name one, as in make setup PYTHON=python3.12'; exit 1; }
	$(call step,Creating $(VENV),$(PYTHON) -m venv $(VENV))
	$(call step,Installing $(TORCH),$(BIN)/python -m pip install -q $(TORCH) $(if $(CPU),$(CPU_WHEELS)))
	$(call step,Installing biomark and the tools of the book,$(BIN)/python -m pip install -q -c requirements/constraints.txt -e '.[book$(comma)codecs$(comma)dicom$(comma)excel]')
	@touch $@

# Executed notebooks are cached by their own text alone, so whatever else decides a result must drop the cache.
fresh: $(INSTALLED)
	@mkdir -p _build; sum=$$(find $(INPUTS) -type f -not -name '*.pyc' | LC_ALL=C sort | xargs cksum | cksum); \
	if [ "$$sum" != "$$(cat $(SEEN) 2>/dev/null)" ]; then \
	  echo 'The library, its versions or the parameters have changed: every chapter runs anew.'; \
	  rm -rf _build/.jupyter_cache $(PREVIEW)/.jupyter_cache; echo "$$sum" > $(SEEN); fi

# A failed build would pass when simply repeated, because pages already read are not read again: start clean.
book: fresh
	@rm -rf _build/html _build/.doctrees
	$(call step,Running the chapters,$(BIN)/python book/execute.py)
	$(call step,Drawing the patient of the front page,$(BIN)/python book/hero.py patient)
	$(call step,Building the book,$(BIN)/jupyter-book build . -W -n --keep-going)
	@echo 'The site is at file://$(CURDIR)/_build/html/index.html'

preview: fresh
	@rm -rf $(PREVIEW)/html $(PREVIEW)/.doctrees
	$(call step,Running the chapters small,$(BIN)/python book/execute.py --params book/params/smoke --build $(PREVIEW))
	$(call step,Drawing the patient of the front page,$(BIN)/python book/hero.py patient)
	$(call step,Building the book,$(BIN)/jupyter-book build . --path-output $(dir $(PREVIEW)) -W -n --keep-going)
	@echo 'The site is at file://$(CURDIR)/$(PREVIEW)/html/index.html; its figures and numbers are of the smallest runs.'

$(PAGES): $(INSTALLED)
	$(call step,Installing what opens the pages,$(BIN)/python -m pip install -q -c requirements/constraints.txt -e '.[pages]')
	@touch $@

check-pages: $(PAGES)
	$(call step,Opening every page of the book,$(BIN)/python book/check_pages.py $(ARGS))

# The publishing workflow names its own commit, so that a notebook installs the library that it was made with.
colab: $(INSTALLED)
	$(call step,Writing the notebooks for Colab,$(BIN)/python book/colab.py $(if $(COMMIT),--commit $(COMMIT)))

zip: $(INSTALLED)
	$(call step,Packing the pages,$(BIN)/python book/downloads.py zip)

pdf: $(PAGES)
	$(call step,Printing the pages,$(BIN)/python book/downloads.py pdf)

test: $(INSTALLED)
	$(call step,Checking style,$(BIN)/ruff check -q $(CODE) && $(BIN)/ruff format -q --check $(CODE) && \
	  $(BIN)/codespell $(CODE) $(wildcard *.md))
	$(call step,Checking types,$(BIN)/mypy --no-error-summary)
	$(call step,Checking that notebooks are stripped,$(call stripping,--verify))
	$(call step,Running the tests,MPLBACKEND=Agg $(TESTING) tests)
	@rm -rf $(SMALL) && mkdir -p $(SMALL)
	$(call step,Preparing the chapters,for n in $(basename $(notdir $(CHAPTERS))); do $(BIN)/papermill --prepare-only --log-level ERROR \
	  book/$$n.ipynb $(SMALL)/$$n.ipynb -f book/params/smoke/$$n.yml || exit; done)
	$(call step,Running the chapters small and cell by cell,$(TESTING) -p tests.kernels --nbval-lax --nbval-current-env --nbval-cell-timeout 300 $(SMALL))

smoke: $(INSTALLED)
	@mkdir -p runs/smoke
	$(call step,Running every chapter small,failed=; for n in $(basename $(notdir $(CHAPTERS))); do echo "    $$n"; \
	  $(BIN)/papermill book/$$n.ipynb runs/smoke/$$n.ipynb -f book/params/smoke/$$n.yml \
	  --execution-timeout 300 --no-progress-bar || failed="$$failed $$n"; done; \
	  if [ "$$failed" ]; then echo "Failed:$$failed (see runs/smoke)"; exit 1; fi)

run: $(INSTALLED)
	@$(BIN)/python book/run.py '$(CHAPTER)' $(ARGS)

$(LAB): $(INSTALLED)
	$(call step,Installing JupyterLab,$(BIN)/python -m pip install -q -c requirements/constraints.txt -e '.[lab]')
	@touch $@

lab: $(LAB)
	@$(BIN)/jupyter-lab --notebook-dir=. --LabApp.default_url=/lab/tree/book $(ARGS)

$(SWEEPS): $(INSTALLED)
	$(call step,Installing Snakemake,$(BIN)/python -m pip install -q -c requirements/constraints.txt -e '.[sweep]')
	@touch $@

# What was finished is not run again.
sweep: $(SWEEPS)
	$(BIN)/snakemake $(ARGS)

$(PEERS): $(INSTALLED)
	$(call step,Installing the peers,$(BIN)/python -m pip install -q -c requirements/constraints.txt -e '.[peers]')
	@touch $@

bench: $(PEERS)
	$(call step,Timing,failed=; for n in $(BENCHES); do echo "--- $$n"; $(BIN)/python tests/benchmarks/$$n.py --into runs/bench $(ARGS) || \
	  failed="$$failed $$n"; done; if [ "$$failed" ]; then echo "Failed:$$failed"; exit 1; fi)

times: $(INSTALLED)
	$(call step,Running each chapter alone,$(BIN)/python book/times.py $(ARGS))

badges: $(INSTALLED)
	$(call step,Writing badges, results and Colab cells,$(BIN)/python book/badges.py)

hero: $(INSTALLED)
	$(call step,Drawing the picture of the front page,$(BIN)/python book/hero.py)

laboratory: $(INSTALLED)
	$(call step,Training the model of the laboratory,$(BIN)/python workflow/pretrain.py sfa $(SMALLER) --epochs 10 --width 12 --size 96 --watch 4)

# Hours of work; what was trained before, by a sweep too, is taken by `python workflow/pretrain.py pma --model FILE`.
pretrained: $(INSTALLED)
	$(call step,Training the models that come with the library,for n in pma sfa liver cac; do \
	  $(BIN)/python workflow/pretrain.py $$n $(ARGS) || exit; done)

tidy: $(INSTALLED)
	$(call step,Formatting the code,$(BIN)/ruff check -q --fix $(CODE); $(BIN)/ruff format -q $(CODE))
	$(call step,Stripping the notebooks,$(call stripping,))

clean:
	$(call step,Removing what was built,rm -rf _build runs/smoke .pytest_cache .ruff_cache .mypy_cache .hypothesis)
