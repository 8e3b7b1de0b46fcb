# make demo     set up .venv with what answering needs, then watch a question being answered (CPU=1: with
#               PyTorch's CPU build)
# make test     lint and the tests, in about eight minutes on two cores; sets up what they need as well
# make test-extended  the others (an hour and a half): Ray, the wheel, training, lmms-eval, rehearsals, whole
#               runs of commands, all pairs of parameters; PART=2/10: one in ten of them
# make test-all    both
# make test-processors  what depends on the processor, as on one without bfloat16 (a minute on two cores)
# make test-browser  the pages that are written or served, in Chromium (needs the system's chromium or Chrome;
#               installs Playwright; a minute on two cores)
# make test-quick  a little of every file of tests, in less than a minute on two cores
# make lint     ruff and mypy
# make budget   how large the project is beside its bounds, which only fall
# make bench    measure the start-up times, and answers about 8 and 32 frames stage by stage (40 min)
# make tables   write docs/data/tables, the accuracies of methods, from the answers in docs/data
# make gpu      CUDA tests, then times and memory of a 7 B model on this machine's GPU, and of vLLM with it
#               where that is installed; resumes (20 min)
# make docs     write docs/reference.md, the manual page and the scripts of completion from the code
# make site     build the documentation site in build/site, with every link checked (in an environment of its
#               own, runs/site: 140 MB)
# make mutants  break the program on purpose, where chance has it, and see which test goes red
# make release  source distribution and wheel in dist, checked, and installed on each Python that is
#               here with the newest and the oldest release of everything (minutes), and nothing
#               is uploaded. DRY_RUN=1: before its date is set and each turn was green
# make clean    remove what builds and tests left behind (not .venv)
# Longer checks: CONTRIBUTING.md; trainings: training/README.md; measurements: docs/data/README.md.

PYTHON ?= python3
BIN := .venv/bin
# What answering needs, and with it what tests and lint need.
RUNNABLE := .venv/.runnable
INSTALLED := .venv/.installed
CPU_BUILDS := https://download.pytorch.org/whl/cpu
UV := $(shell command -v uv)

# Tests of what is chosen by the processor's instructions.
BY_PROCESSOR := tests/kernels tests/engine/memory tests/engine/test_bytes_read.py tests/models/test_load.py \
	tests/models/test_load_memory.py tests/models/test_devices.py tests/cli/commands/test_doctor.py

# Tests of pages, as a browser shows them.
IN_A_BROWSER := tests/inspect/test_browser.py

# Four more than there are cores, each on one thread: tests of servers and interrupts wait as often as they
# compute, and tiny models gain nothing from more threads. With two more, two cores idle an eighth of the time.
# Sources are compiled once, and not by each of some hundred processes.
WORKERS := $(shell expr $$(nproc) + 4)
FORKED = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -p tests.workers --workers
PYTEST = $(FORKED) $(WORKERS) -p tests.limits
TIMED := TIMEFORMAT="Took %R s, and of processors %U s + %S s (system)"; time

.PHONY: demo test tests test-extended test-all test-processors test-browser test-quick lint budget bench gpu tables docs site mutants release clean

demo: $(firstword $(wildcard $(INSTALLED)) $(RUNNABLE))
	$(BIN)/dycoke ask sample_videos/move.mp4 "What does the blue star do?"

# Of a test that isn't marked slow, in seconds of processor time. A slow machine, or a busy one, needs more.
CPU_LIMIT := 2

# Lint runs beside the tests, which are collected on one core.
test: $(INSTALLED)
	@bash -c '$(TIMED) $(MAKE) --no-print-directory --jobs=3 budget lint tests'

tests: $(INSTALLED)
	@$(PYTEST) --cpu-limit=$(CPU_LIMIT) -m "not extended"

# Whoever runs it (CI) may have a slow machine, or a busy one: there a test may take five times its time.
# PART=2/10: one in ten of them, as CI does.
PART := 1/1
test-extended: $(INSTALLED)
	$(PYTEST) --cpu-limit=10 -m extended --part $(PART)

test-all: test test-extended

# Where weights can't be packed, and where bfloat16 is emulated: `tests/processors.py`.
test-processors: $(INSTALLED)
	$(PYTEST) -p tests.processors --processor unpacked -m "not slow" --cpu-limit=10 $(BY_PROCESSOR)
	$(PYTEST) -p tests.processors --processor emulated -m "not slow" --cpu-limit=10 $(BY_PROCESSOR)

# Where Playwright or a browser can't be had, the tests are skipped, and a sentence says so.
test-browser: $(INSTALLED)
	-$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt playwright
	$(PYTEST) -rs --cpu-limit=10 $(IN_A_BROWSER)

# Each file on one worker: its share of the time is counted there.
test-quick: $(INSTALLED)
	$(FORKED) 2 -p tests.quick -m "not slow" -q

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Of a commit that takes away: the lower bounds are part of it.
budget: $(INSTALLED)
	$(BIN)/python -m tests.budget

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.startup --write
	$(BIN)/python -m benchmarks.loading --write docs/speed.md
	$(BIN)/python -m benchmarks.speed --frames 8x1 --frames 32x1 --write

# With the system's Python, for there torch fits the GPU: it needs no .venv. One stage: STAGES=speed-32
gpu:
	PYTHONPATH=src $(PYTHON) -m benchmarks.gpu $(if $(COMMIT),--commit $(COMMIT)) $(STAGES)

tables: $(INSTALLED)
	$(BIN)/python -m benchmarks.methods --report --write

docs: $(INSTALLED)
	$(BIN)/python -m benchmarks.cli_page
	$(BIN)/python -m benchmarks.man_page

# Without .venv: it needs none of the program's dependencies. pip reads groups from 25.1 on.
SITE := runs/site/.installed
site: $(SITE)
	$(PYTHON) -m benchmarks.site_pages build/site-pages
	runs/site/bin/zensical build --clean --strict

$(SITE): pyproject.toml constraints.txt
	$(PYTHON) -m venv runs/site
	runs/site/bin/pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	runs/site/bin/pip install --quiet --constraint constraints.txt --group site
	@touch $@

mutants: $(INSTALLED)
	$(BIN)/python -m tests.mutants

release: $(INSTALLED)
	$(BIN)/python -m tests.release $(if $(DRY_RUN),--dry-run) $(foreach python,$(PYTHONS),--python $(python))

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache src/*.egg-info plugins/*/*.egg-info captions crosses.csv crosses.jsonl .crosses.jsonl.lock results.jsonl .results.jsonl.lock
	find src tests benchmarks training plugins -name __pycache__ -type d -prune -exec rm -rf {} +

# Installs what is named into .venv: with uv where it is, else (or where uv fails) with pip, whose lines
# are shown as one on a terminal. Neither compiles sources that may never be imported.
LINE = if [ -t 1 ]; then while IFS= read -r line; do printf "\r\033[K%.72s" "$$line"; done; \
	printf "\r\033[K"; else cat >/dev/null; fi
with_pip = $(BIN)/pip install --no-compile --disable-pip-version-check --constraint constraints.txt $(1) | { $(LINE); }
with_uv = $(UV) pip install --python $(BIN)/python --constraint constraints.txt $(1)
install = { $(if $(UV),$(with_uv) || )$(with_pip); }

# The index of PyTorch's CPU builds has only some releases of what they need: that comes with the rest.
define set_up
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or later is needed, and $(PYTHON) isn't there: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or later is needed, this is %d.%d: make PYTHON=/path/to/python3" % sys.version_info[:2])'
	@echo "Setting up .venv: $(2)"
	@$(PYTHON) -m venv .venv
	@bash -c 'set -o pipefail; $(if $(CPU),$(call install,--no-deps --index-url $(CPU_BUILDS) torch torchvision) && )$(call install,--editable "$(1)") && echo "Set up in $$SECONDS s."'
endef
SIZE := $(if $(CPU),0.5 GB,3 GB (nearly all of it PyTorch with its CUDA libraries; without a GPU, CPU=1 takes 0.5 GB))

# Once, and again when the dependencies change.
$(RUNNABLE): pyproject.toml constraints.txt src/dycoke_cli/tested.txt
	$(call set_up,.,downloads about $(SIZE). Afterwards nothing is downloaded.)
	@touch $@

$(INSTALLED): pyproject.toml constraints.txt src/dycoke_cli/tested.txt
	$(call set_up,.[dev],downloads about $(SIZE) unless it is there and 0.5 GB for tests and lint.)
	@bash -c 'set -o pipefail; $(call install,--no-deps --editable plugins/lmms_eval)'
	@touch $@ $(RUNNABLE)
