# Every command of the project. `make help` lists them; each sets up what it needs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
FREE_THREADED := .venv-free-threaded
# pip and maturin use the network only to reach package registries.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Tests start hundreds of Python processes. Unless they share bytecode, each of them compiles all it imports.
unexport PYTHONDONTWRITEBYTECODE

# Three workers for two processors, because tests also wait; each has its own servers. Fixtures of a
# module are made about once: neighbours stay together until a worker has nothing left to do.
WORKERS  := $(shell echo $$(( ($$(nproc) * 3 + 1) / 2 )))
PARALLEL := --numprocesses=$(WORKERS) --dist=worksteal
PYTEST   := $(BIN)/python -m pytest $(PARALLEL)

RUST_SOURCES := Cargo.toml Cargo.lock $(shell find rust -name '*.rs' -o -name Cargo.toml)

.DEFAULT_GOAL := help
.PHONY: help install demo test servers test-rust test-loom miri test-python test-wheel test-free-threaded soak lint format fuzz fuzz-keep bench bench-readme clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/' | column -t -s:

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'

# The oldest versions that the pools support, beside the newest ones: a test puts their folder first on the path, or is
# skipped where they cannot be installed. In CI it fails.
OLDEST := pgvector==0.2.5 psycopg==3.2.6 psycopg-binary==3.2.6

# All commands share one release build, which is repeated when a Rust source or the metadata changes.
# pip would compile every file of every package; Python compiles those that are imported.
$(VENV)/.installed: $(BIN)/python pyproject.toml $(RUST_SOURCES)
	$(BIN)/python -m pip install --quiet --no-compile --group dev --editable '.[all,demo]'
	-$(BIN)/python -m pip install --quiet --no-compile --no-deps --upgrade --target $(VENV)/oldest $(OLDEST)
	@touch $@ $(VENV)/.demo

# The packages that the demo needs, without development tools.
$(VENV)/.demo: $(BIN)/python pyproject.toml $(RUST_SOURCES)
	$(BIN)/python -m pip install --quiet --editable '.[pool,demo]'
	@touch $@

install: $(VENV)/.installed ## create .venv and install nanospan with all extras and tools

demo: $(VENV)/.demo ## run the demo, a small memory service on an embedded PostgreSQL
	$(BIN)/nanospan demo

# While one command waits for the network or the linker, the others have the processors.
test: ## run all tests, and every benchmark once
	$(MAKE) --jobs=4 --output-sync=target install servers test-rust test-loom
	$(PYTEST)

# Tests whose program could not be fetched are skipped; in CI they fail.
servers: ## fetch the real servers that tests talk to
	-tools/servers >/dev/null

test-rust: ## run the tests of the crates without Python, and each of their benchmarks once
	cargo test --quiet --workspace --exclude nanospan-python --all-targets

# A separate target folder, because the flag would rebuild everything in the common one.
test-loom: ## explore all interleavings of small programs on the ring and the record path
	RUSTFLAGS="--cfg loom" cargo test --quiet --profile loom --package nanospan-record --lib --target-dir target/loom

# The core's one file with unsafe code, and what stands on it. The other tests take Miri minutes each, because every
# access to a block has it check 128 KiB of atomic words again. Miri needs a nightly toolchain, as no other command does:
# rustup toolchain install nightly --component miri --component rust-src
miri: ## the core's memory, ring and registry under Miri, where a nightly toolchain has it
	@cargo +nightly miri --version >/dev/null 2>&1 || { echo "miri: no nightly toolchain with Miri is installed" >&2; exit 1; }
	PROPTEST_CASES=1 MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --package nanospan-record \
		--target-dir target/miri --lib -- memory:: ring:: registry::

test-python: install servers ## test the package, with a real PostgreSQL and other real servers
	$(PYTEST)

test-wheel: install ## run the unit tests on the installed wheel, with the sources out of reach
	tools/test-wheel $(PARALLEL)

# The package as users get it, in a separate venv; a separate target folder keeps the other builds intact.
$(FREE_THREADED)/.installed: $(BIN)/python pyproject.toml $(RUST_SOURCES) $(wildcard python/nanospan/*.py)
	python=$$(tools/free-threaded) && "$$python" -m venv --clear --without-pip $(FREE_THREADED)
	$(BIN)/python -m pip --python $(FREE_THREADED)/bin/python install --quiet --only-binary :all: --group core
	CARGO_TARGET_DIR=target/free-threaded \
		$(BIN)/python -m pip --python $(FREE_THREADED)/bin/python install --quiet --no-deps .
	@touch $@

test-free-threaded: $(FREE_THREADED)/.installed ## run the unit and stress tests on CPython without a GIL
	$(FREE_THREADED)/bin/python -m pytest --override-ini addopts='--strict-markers --import-mode=importlib' \
		tests/free_threaded tests/test_monitor.py tests/test_monitor_snapshot.py tests/test_operation.py \
		tests/test_span.py tests/test_thresholds.py tests/test_tracking.py tests/test_tracking_generators.py \
		tests/test_native_wrappers.py tests/test_snapshot.py \
		tests/values/test_measurements.py tests/test_process.py tests/test_reentrant.py tests/test_fork.py tests/test_alert_callbacks.py

# The running time of soak and fuzz, which end by themselves only because of it.
SECONDS ?= 600

soak: $(VENV)/.installed ## use everything at once, for SECONDS, and check that nothing is lost and nothing grows
	$(BIN)/python tests/soak --seconds $(SECONDS)

lint: $(VENV)/.installed ## check formatting, lints, types, imports, words and spelling
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	tools/rust_cycles.py
	$(BIN)/python tools/python_cycles.py
	$(BIN)/python tools/check_words.py
	$(BIN)/codespell

format: $(VENV)/.installed ## format all sources
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	cargo fmt --all

# The fuzz targets to run for SECONDS each; all by default.
TARGETS ?=
FUZZ := PYTHONPATH=fuzz/python $(BIN)/python -m

# Without atheris, which has wheels for few versions of Python, Hypothesis alters the inputs.
$(VENV)/.fuzz: $(VENV)/.installed
	-$(BIN)/python -m pip install --quiet --no-compile --only-binary :all: --group fuzz
	@touch $@

READER_TESTS := tests/values tests/alerts/test_alerts_file.py tests/alerts/test_templates.py tests/cli/test_changes.py \
	tests/cli/test_compare.py tests/export/test_names.py tests/export/test_recording_files.py tests/export/test_safe_json.py \
	tests/export/test_sample_files.py tests/export/test_prometheus_hosts.py tests/pool/test_config.py tests/pool/test_conninfo.py \
	tests/pool/test_settings.py

# The tests' own inputs are where fuzzing begins, beside the saved ones and those of earlier runs.
target/fuzz/.corpus: $(VENV)/.fuzz $(wildcard $(READER_TESTS))
	-NANOSPAN_CORPUS=$(CURDIR)/target/fuzz/corpus cargo test --quiet --package nanospan-record --lib -- tests::codec tests::snapshot
	-$(PYTEST) -q --extend-corpus target/fuzz/corpus $(READER_TESTS)
	@touch $@

fuzz: target/fuzz/.corpus ## run every fuzz target for SECONDS=600, or only TARGETS="a b"
	$(FUZZ) nanospan_fuzz --seconds $(SECONDS) $(TARGETS)

fuzz-keep: target/fuzz/.corpus ## save the inputs that fuzzing found to reach new code in tests/corpus
	$(FUZZ) nanospan_fuzz.keep $(TARGETS)

# Several runs, so that each subject has some rounds while nothing else slows the machine down.
BENCH_RUNS := 1 2 3 4 5 6 7
RESULTS := $(BENCH_RUNS:%=benches/results/overhead-%.json)

bench: $(VENV)/.installed ## compare with other libraries; the table goes to benches/results
	rm -f $(RESULTS)
	set -e; for results in $(RESULTS); do \
		$(BIN)/python -m pytest benches --benchmark-enable --benchmark-json=$$results \
			--benchmark-columns=min,median,iqr,rounds --benchmark-sort=name -p no:randomly; done
	cargo bench --package nanospan-benches
	$(BIN)/python benches/report.py $(RESULTS) --output benches/results/overhead.md

bench-readme: ## copy the table of the last benchmarks into the README
	$(BIN)/python benches/report.py $(RESULTS) --readme

clean: ## remove everything that the commands created
	rm -rf $(VENV) $(FREE_THREADED) target .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
