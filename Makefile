# Everything here makes .venv by itself. PYTHON chooses the interpreter: make test PYTHON=python3.12
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NOW := $(shell date -u +%Y-%m-%dT%H-%M-%SZ)
# An environment of its own with an older release of OpenEnv, which tests serve and use too.
OLD := $(VENV)/openenv-0.3
LOCK := --quiet --no-config --universal --python-version 3.11 --no-header --no-annotate --upgrade
RESULTS ?= experiments/results/demo-$(NOW)

.PHONY: demo cluster-demo time-to-ready bench performance mutants test test-here test-experiment test-cluster test-faults check format lock clean

# The main job on this machine: Envoy and two servers, pre-flight, a grid, the report.
demo: $(VENV)/.installed
	PATH="$(abspath $(BIN)):$$PATH" launcher up --local --nodes 3 --max-concurrent-envs 2048 \
	  --name demo --dir $(RESULTS)/deployment -- sh -ec ' \
	    launcher preflight --name demo; \
	    launcher grid --requests-grid 32,128,512,2048 --wait-grid 1.0 --load-workers 2 \
	      --expected-hosts $$NUM_WORKERS --require-hosts --output-dir $(RESULTS)'
	PATH="$(abspath $(BIN)):$$PATH" launcher report $(RESULTS)

# The main job on a Slurm cluster in namespaces of this machine; as root on Debian.
cluster-demo:
	PYTHON=$(PYTHON) deploy/sandbox/demo.sh experiments/results/cluster-demo-$(NOW)

# Seconds from `launcher up` to its URL, on a cluster of its own; as root on Debian.
time-to-ready: $(VENV)/.installed-test
	$(BIN)/python -m tests.perf.time_to_ready

# Measures every target next to its peers, within 45 minutes, into experiments/results/bench-TIME.
# What a user's OpenEnv app gets, within 12 minutes: make bench ONLY=apps. Others: make bench ONLY=1,4,own.
# To check the benchmark itself: make bench QUICK=1.
bench: $(VENV)/.installed-test
	$(BIN)/python -m tests.perf.bench --only "$(ONLY)" $(if $(QUICK),--quick)

# The page of a run: make performance JSON=experiments/results/bench-TIME/bench.json
# Further files add figures that the first lacks: JSON="A/bench.json B/bench.json"
performance: $(VENV)/.installed-test
	$(BIN)/python -m tests.perf.page $(JSON) --output deploy/PERFORMANCE.md

# All tests in three parallel groups, because cluster tests mostly wait; or only TESTS=...
ifdef TESTS
test: $(OLD)/.installed
	$(BIN)/python -m pytest $(TESTS)
else
test: $(VENV)/.installed-test
	$(MAKE) --no-print-directory --keep-going -j 4 --output-sync=target test-here test-experiment test-cluster test-faults
endif

test-here test-experiment test-cluster test-faults: $(VENV)/.installed-test
test-here: $(OLD)/.installed
	$(BIN)/python -m pytest tests/unit tests/local tests/test_scaling.py --ignore tests/local/experiment
test-experiment:
	$(BIN)/python -m pytest tests/local/experiment
test-cluster:
	$(BIN)/python -m pytest tests/cluster --ignore tests/cluster/faults
test-faults:
	$(BIN)/python -m pytest tests/cluster/faults

# Mutation testing of the code that decides: the surviving mutants and the score, which must be at least
# 90 %. Some alone: make mutants MUTANTS='analysis.scaling.*'.
mutants: $(VENV)/.installed-test
	$(BIN)/python tests/tools/mutants.py $(MUTANTS)

check: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/shellcheck .ci/run tests/tools/*.sh deploy/slurm/*.sh containers/*.sh \
	  deploy/sandbox/*.sh deploy/sandbox/files/usr/local/sbin/daemons

format: $(VENV)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The packages of the images are named in containers/requirements-IMAGE.in, their versions in pyproject.toml.
lock: $(VENV)/.installed-test
	$(BIN)/uv pip compile $(LOCK) pyproject.toml --output-file $(VENV)/constraints.txt
	for image in server envoy locust; do \
	  $(BIN)/uv pip compile $(LOCK) --generate-hashes --constraint $(VENV)/constraints.txt \
	    containers/requirements-$$image.in --output-file containers/requirements-$$image.txt || exit 1; \
	done

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; say which with: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e ".[analysis]"
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -e ".[analysis,test]"
	tests/tools/browser.sh
	touch $@

# uv takes seconds, pip a minute; uv does not read pip's settings, so it may fail where pip works.
$(OLD)/.installed: tests/local/openenv/requirements-0.3.txt pyproject.toml $(VENV)/.installed-test
	test -x $(OLD)/bin/python || $(BIN)/python -m venv $(OLD)
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(OLD)/bin/python -e . -r $< || \
	  $(OLD)/bin/python -m pip install --quiet -e . -r $<
	touch $@

clean:
	rm -rf $(VENV) mutants .pytest_cache .mypy_cache .ruff_cache
