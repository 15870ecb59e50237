# Two commands are all that a fresh machine needs: `make run` and `make test`. Both install what is missing, without root.
.DEFAULT_GOAL := help

.PHONY: help run test test-slow test-policies test-newest test-matrix check format mutants bench faults help-texts docs dist messages pictures constraints clean

# Without bytecode every process compiles torch and LeRobot anew, which takes it ten seconds.
unexport PYTHONDONTWRITEBYTECODE

# A uv that works in this folder (a pyenv shim may exist and not work) and knows dependency groups, else one of our
# own in .tools/
UV := $(shell uv pip install --help 2>/dev/null | grep -q -e --group && command -v uv || echo .tools/bin/uv)
BIN := .venv/bin

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

run: .venv/.run ## bring up the mock arm, let a small ACT policy drive it, and show it on a page (ARGS="--help" shows the options)
	$(BIN)/so101-run --display=web $(ARGS)

OR_NONE = || [ $$? -eq 5 ] # pytest found no such test: ARGS may name a few files

test: .venv/.dev ## the tests, without hardware: most side by side, then those that need real time
	$(BIN)/pytest -q -m "not slow and not real_time" -n logical --maxprocesses 4 --dist loadfile $(ARGS) $(OR_NONE)
	$(BIN)/pytest -q -m "not slow and real_time" $(ARGS) $(OR_NONE)

test-slow: .venv/.dev ## the tests that take minutes
	$(BIN)/pytest -q -m slow --timeout 1800 $(ARGS)

# An environment of its own, because every process that imports LeRobot then starts 15 s later.
TEST_POLICIES = tests/policy/inference/test_any_policy.py tests/policy/train/test_delegated.py tests/end_to_end/test_any_policy_run.py \
  tests/eval/evaluation/test_any_policies.py

test-policies: pyproject.toml | $(UV) ## the tests of policies that need LeRobot's extras (diffusion, SmolVLA), in .venv-policies
	@$(call install,.venv-policies,--constraint constraints.txt --editable ".[policies]" --group dev)
	.venv-policies/bin/pytest -q --timeout 1800 $(or $(ARGS),$(TEST_POLICIES))

test-newest: pyproject.toml | $(UV) ## the tests again, with the newest versions that pyproject.toml allows, in .venv-newest
	@$(call install,.venv-newest,--upgrade --editable . --group dev)
	.venv-newest/bin/pytest -q -m "not slow" $(ARGS)

# LeRobot's versions between which everything has to work: the oldest that pyproject.toml allows, and the newest there
# is. A folder with LeRobot's sources will do, too: make test-matrix LEROBOTS=../lerobot
LEROBOTS = lerobot==0.6.1 lerobot
TOUCH_LEROBOT = tests/policy tests/robot/arm tests/end_to_end tests/eval/episode

test-matrix: pyproject.toml constraints.txt | $(UV) ## the tests that touch LeRobot, with its oldest and its newest version (LEROBOTS=...), each in an environment of its own
	@mkdir -p .venv-lerobot && sed '/^lerobot==/d' constraints.txt > .venv-lerobot/constraints.txt
	@n=0; for lerobot in $(LEROBOTS); do n=$$((n + 1)); \
	  $(call install,.venv-lerobot/$$n,--constraint .venv-lerobot/constraints.txt --editable . --group dev) && \
	  $(UV) pip install --quiet --python .venv-lerobot/$$n --no-sources --no-deps --upgrade --reinstall-package lerobot $$lerobot && \
	  .venv-lerobot/$$n/bin/python -c "from importlib.metadata import version; print('LeRobot', version('lerobot'))" && \
	  .venv-lerobot/$$n/bin/pytest -q -m "not slow" $(or $(ARGS),$(TOUCH_LEROBOT)) || exit 1; done

check: .venv/.dev ## style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: .venv/.dev ## rewrite the sources in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

mutants: .venv/.dev ## break the wiring on purpose, one line at a time: which tests notice? (ARGS="fence drift" chooses by name)
	$(BIN)/python tests/mutants/run.py $(ARGS)

# some of them use experiments/, which is not installed
bench pictures: export PYTHONPATH = .

bench: .venv/.dev ## measure: bus, engine, chunks, jitter, cameras, training, evaluation (both sides interleaved in one run)
	$(BIN)/python tests/benchmarks/bench_bus.py
	$(BIN)/python tests/benchmarks/bench_teleop.py
	$(BIN)/python tests/benchmarks/bench_shares.py
	$(BIN)/python tests/benchmarks/bench_lockstep.py
	$(BIN)/python tests/benchmarks/bench_engine.py
	$(BIN)/python tests/benchmarks/bench_chunks.py
	$(BIN)/python tests/benchmarks/bench_jitter.py
	$(BIN)/python tests/benchmarks/bench_cameras.py
	$(BIN)/python tests/benchmarks/bench_drift.py
	$(BIN)/python tests/benchmarks/bench_loading.py
	$(BIN)/python tests/benchmarks/bench_step.py
	$(BIN)/python tests/benchmarks/bench_augmentation.py
	$(BIN)/python tests/benchmarks/bench_train.py
	$(BIN)/python tests/benchmarks/bench_train.py --large
	$(BIN)/python tests/benchmarks/bench_eval.py

faults: .venv/.dev ## every fault, 20 times, ours and LeRobot's; two simulated hours of random ones; 100 kills (hours)
	$(BIN)/python -m experiments.faults.table --repetitions 20 --out outputs/faults/table.jsonl
	$(BIN)/python -m experiments.faults.soak --hours 2 --out outputs/faults/soak.json
	$(BIN)/python -m experiments.faults.kills --kills 100 --out outputs/faults/kills.json

help-texts: .venv/.dev ## write the commands' help again, from their flags and the words about them
	$(BIN)/python -m so101_policy.commands.help_texts so101_robot.cli so101_policy.cli \
	  so101_eval.cli so101_calibration.cli

docs: .venv-docs/.docs ## build the pages as a site to be read without network, site/index.html; every doubt is an error
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet --strict
	.venv-docs/bin/python docs/reference/check_site.py site

dist: | $(UV) ## build the wheel and the source archive into dist/
	$(UV) build --quiet --out-dir dist .
	@ls -l dist

messages: .venv/.dev ## write docs/reference/messages.md again: every message that a command can print, from the sources
	$(BIN)/python docs/reference/make_messages.py

pictures: .venv/.dev ## draw the README's pictures again, and write the transcript of so101-setup
	$(BIN)/python docs/pictures/draw.py
	$(BIN)/python docs/pictures/draw_palletizing.py
	$(BIN)/python docs/pictures/draw_poses.py
	$(BIN)/python docs/reference/make_setup_transcript.py

constraints: .venv/.dev .venv-docs/.docs ## pin the versions that .venv has now: run it after the tests passed with newer ones
	@{ sed '/^[^#]/d' constraints.txt; for folder in .venv .venv-docs .venv-policies; do \
	  test ! -d $$folder || $(UV) pip freeze --quiet --python $$folder --exclude-editable; done | LC_ALL=C sort -s -u -t= -k1,1; } > .venv/constraints.txt
	@mv .venv/constraints.txt constraints.txt
	@touch .venv/.run .venv/.dev

clean: ## remove the environments and the caches; outputs/ (recordings, trainings, reports) stays
	rm -rf .venv .venv-docs .venv-policies .venv-newest .venv-lerobot site .tools .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist
	@test ! -d outputs || echo "outputs/ is left as it is: it holds what you recorded and trained"

# $(call install,FOLDER,WHAT): an environment in FOLDER, with WHAT installed into it
install = { test -x $(1)/bin/python || $(UV) venv --quiet $(1); } && $(UV) pip install --quiet --python $(1) $(2)

.venv/.run: pyproject.toml constraints.txt | $(UV)
	@echo "installing into .venv (about a minute on first use; 6 GB, most of it PyTorch with CUDA)"
	@$(call install,.venv,--constraint constraints.txt --editable ".[web]")
	@touch $@

.venv/.dev: pyproject.toml constraints.txt | $(UV)
	@echo "installing into .venv (about a minute on first use; 7 GB, most of it PyTorch with CUDA)"
	@$(call install,.venv,--constraint constraints.txt --editable . --group dev)
	@touch $@ .venv/.run

.venv-docs/.docs: pyproject.toml constraints.txt | $(UV)
	@$(call install,.venv-docs,--constraint constraints.txt --group docs)
	@touch $@

.tools/bin/uv:
	@echo "installing uv into .tools"
	@for python in python3 /usr/bin/python3 python3.12 python3.13 python3.11; do \
	  $$python -m venv .tools 2>/dev/null && break; done; \
	.tools/bin/python -m pip install --quiet --disable-pip-version-check uv \
	  || { rm -rf .tools; echo "could not install uv: this needs python3 with its venv module, or uv itself on the PATH" >&2; exit 1; }
