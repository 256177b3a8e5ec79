# make run    judge a reference run and draw it        make check  style, types, tests, examples and docs in one go
# make test   run every test and every example         make docs   the site, into build/site
# make gui-look FILES=…  draw published files as the DQM GUIs do
# make quick  the fast tests only
# make clean  remove .venv, out, build and dist        make coverage  what the tests reach, into docs/results/coverage.md
# make bench  measure how fast, beside what one would use instead (about half an hour on two quiet cores)
# make stress measure the judge in worlds that break its model (an hour on a quiet core)
# make fuzz   hand tens of thousands of damaged files to the reader (about an hour); make faults: kill it at work
# make models   simulate clean runs and make the shipped models anew (about fifteen minutes)
# make locked   pin the tested environment with hashes, from pyproject.toml and constraints.txt (needs a package index)
# make lowest   the tests of the core with the lowest versions that pyproject.toml allows (needs a package index)
# make audit    known vulnerabilities of the locked environment (needs a network; says so where there is none)
#
# Needs Python 3.11 or newer, git and make. Variables: PYTHON, VENV, REFERENCE_RUN, OUT, JOBS.

RIGHT_PYTHON = -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python $(RIGHT_PYTHON) && echo $$python && break; done)
VENV ?= .venv
REFERENCE_RUN ?= demonstration
OUT ?= out
JOBS ?= auto

BIN = $(VENV)/bin
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: run test quick check docs gui-look coverage format clean models bench fuzz faults stress locked lowest audit

run: $(VENV)/.installed
	$(BIN)/hcal-root-ad run $(REFERENCE_RUN) -o $(OUT) --plots $(OUT)/plots --flags $(OUT)/flags.csv

# The examples of a page, or of a docstring, build on each other: one process runs them.
EXAMPLES = README.md docs hcal_root_ad

# One thread per worker: torch and BLAS would otherwise start as many threads as there are cores in each.
test: $(VENV)/.installed-for-tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --maxprocesses 4 tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(EXAMPLES)

# The inner loop: what neither trains nor runs commands from end to end.
quick: $(VENV)/.installed-for-tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --maxprocesses 4 -m "not slow" tests

check: $(VENV)/.installed-for-tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(MAKE) docs
	$(MAKE) test

# Warnings are errors: a link without a target, a page in no table of contents, a docstring that is no good markup.
docs: $(VENV)/.installed-for-tests
	$(BIN)/python -m sphinx -b html -W --keep-going -q -c docs . build/site
	@echo "build/site/docs/index.html"

# What the DQM GUIs would draw, as PNG: make gui-look FILES=out/*.root
FILES ?= $(OUT)/*.root
gui-look: $(VENV)/.installed-for-tests
	$(BIN)/python -m checks.gui_look $(FILES) -o $(OUT)/gui_look

coverage: $(VENV)/.installed-for-tests
	rm -rf build/coverage
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --maxprocesses 4 --cov --cov-report= tests
	$(BIN)/python -m coverage json -q -o build/coverage/figures.json
	$(BIN)/python -m benchmarks.coverage build/coverage/figures.json -o docs/results/coverage.md

format: $(VENV)/.installed-for-tests
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# The stamps: set-up happens once, and again when the dependencies change.
$(VENV)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "hcal-root-ad needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Setting up $(VENV) (once; some minutes, about 2 GB)"
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --editable .
	@touch $@

$(VENV)/.installed-for-tests: $(VENV)/.installed
	$(PIP_INSTALL) --editable '.[test]'
	@touch $@

TRAINING = $(OUT)/training
TRAINING_DATA = "14 simulated clean runs of 120 LS of one detector (detector seed 2022, seed 1), pileup 20 to 60; no real data. Measured in [accuracy](../../docs/results/accuracy/table.md) and [false alarms](../../docs/results/false_alarms/table.md)"

WIDTHS = models/widths.toml

models: $(VENV)/.installed-for-tests
	$(BIN)/python -m studies widths -o $(WIDTHS)
	$(BIN)/hcal-root-ad simulate -o $(TRAINING) --format nanodqmio --lumisections 120 --runs 14 \
		--detector-seed 2022 --seed 1
	$(BIN)/hcal-root-ad train $(TRAINING)/*.root --subdetector HE --widths $(WIDTHS) --data $(TRAINING_DATA) \
		-o models/he-graphstad
	$(BIN)/hcal-root-ad transfer --from models/he-graphstad --to HB --runs $(TRAINING)/*.root --data $(TRAINING_DATA) \
		-o models/hb-graphstad-from-he
	for name in ho hf; do $(BIN)/hcal-root-ad transfer --from models/he-graphstad --to $$(echo $$name | tr a-z A-Z) \
		--runs $(TRAINING)/*.root --data $(TRAINING_DATA) -o models/$$name || exit 1; done

bench: $(VENV)/.installed-for-tests
	$(BIN)/python -m benchmarks -o docs/results/bench --scratch $(OUT)/bench

stress: $(VENV)/.installed-for-tests
	$(BIN)/python -m studies stress -o docs/results/stress

# Tools of these three only; what they make does not depend on them.
TOOLS = .tools
UV = $(TOOLS)/bin/uv
COMPILE = $(UV) pip compile --quiet --python-version 3.11.5 --no-annotate pyproject.toml --extra test
LOWEST = .venv-lowest
CORE = tests/test_*.py tests/harvest tests/judge tests/model tests/references tests/compare tests/publish tests/certify tests/cli \
	tests/export tests/report tests/reproduce tests/simulate tests/watch

$(TOOLS)/.installed:
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9 pip-audit==2.10.1
	@touch $@

locked: $(TOOLS)/.installed
	$(COMPILE) --constraint constraints.txt --python-platform x86_64-manylinux_2_28 --generate-hashes \
		--custom-compile-command "make locked" --output-file requirements-locked.txt

lowest: $(TOOLS)/.installed
	$(COMPILE) --resolution lowest-direct --python-platform x86_64-manylinux_2_28 \
		--custom-compile-command "make lowest" --output-file requirements-lowest.txt
	$(UV) venv --quiet --clear --python $(PYTHON) $(LOWEST)
	$(UV) pip install --quiet --python $(LOWEST)/bin/python --requirement requirements-lowest.txt
	$(UV) pip install --quiet --python $(LOWEST)/bin/python --no-deps --editable .
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -n $(JOBS) --maxprocesses 4 $(CORE)

audit:
	@if $(MAKE) --no-print-directory $(TOOLS)/.installed; then \
		$(TOOLS)/bin/python -m checks.audit $(TOOLS)/bin/pip-audit; \
	else echo "audit: skipped, pip-audit cannot be installed from here."; fi

fuzz: $(VENV)/.installed-for-tests
	$(PIP_INSTALL) --editable '.[fuzz]'
	$(BIN)/python -m benchmarks.fuzz -o docs/results/fuzz
	$(BIN)/python -m benchmarks.fuzz.texts -o docs/results/fuzz
	$(BIN)/python -m benchmarks.fuzz.hostile -o docs/results/fuzz

faults: $(VENV)/.installed-for-tests
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.faults -o docs/results/faults

clean:
	rm -rf .venv .venv-lowest .tools out build dist
