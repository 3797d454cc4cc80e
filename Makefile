# Every target works from a fresh clone, and can be repeated.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

list = grep -E '^[a-z-]+:.*$(1)' $(MAKEFILE_LIST) | sed 's/:.*\#\# /\t/' | while IFS="$$(printf '\t')" read -r verb what; do printf '  make %-14s %s\n' "$$verb" "$$what"; done
.DEFAULT_GOAL := help
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*\#\# .*/\1/p' $(MAKEFILE_LIST))

help: ## list the targets that users need; help-all lists the others, too
	@$(call list,[^\#]\#\# )

help-all: ### list all targets
	@$(call list,\#\# )


$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'smallest needs Python 3.11 or newer: make demo PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo 'Python has no venv here: apt install python3-venv' >&2; exit 1; }
	@echo 'installing into .venv (about 20 s) ...'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[local,dev]'
	@$(BIN)/python -m compileall -q smallest_cli
	@touch $(READY)

demo: $(READY) ## install, and speak into hello.wav with the offline server
	@$(BIN)/smallest speak --local "Hello. This audio came from the offline server." -o hello.wav
	@echo
	@echo 'hello.wav is written. Try next:'
	@echo '  . .venv/bin/activate'
	@echo '  smallest speak --local "Your own words" -o words.wav'
	@echo '  echo "Text from a pipe" | smallest speak --local -o - | aplay -q -t raw -f S16_LE -r 24000 -c 1 -'
	@echo '  SMALLEST_API_KEY=... smallest speak "The real service" -o real.wav'

soak: $(READY) ### run thousands of random streams, half of them with faults: make soak SOAK=2000
	@$(BIN)/python -m tests.faults.soak $(or $(SOAK),10000)

kills: $(READY) ### SIGKILL at random times; the target must be unchanged or complete: KILLS=2000 make kills
	@$(BIN)/python -m tests.faults.kills $(or $(KILLS),200)

COVERED := tests/unit/audio tests/unit/client tests/unit/synthesis $(addprefix tests/integration/test_,network.py preconnect.py transports.py speaker.py players.py pipe_readers.py overlap.py bench_cancel.py) $(addprefix tests/e2e/test_,speak.py stream.py contract.py) tests/faults
coverage: $(READY) ### branch coverage of transports, audio, network and retry, at least 95 % (minutes)
	@rm -rf build/coverage && mkdir -p build/coverage
	@$(BIN)/python -m coverage run -m pytest -q -n 2 --dist loadfile -k 'not file_size_limit and not few_file_descriptors' $(COVERED)
	@$(BIN)/python -m coverage combine -q
	@$(BIN)/python -m coverage report

head-to-head: $(READY) ### compare with other tools under the same faults (installs them into .venv-peers)
	@$(BIN)/python -m benchmarks.head_to_head

# In the order of the files the slow modules of tests/e2e start first, and no worker is left with one of them.
# pytest caches the asserts that it has rewritten as bytecode, which saves each worker 5 s.
test test-long: export PYTHONDONTWRITEBYTECODE :=

test: $(READY) ## run the tests, except the long ones (3 minutes on two cores)
	@echo 'running the tests: 3 minutes on two cores ...'
	@$(BIN)/python -m pytest -q -n 4 --dist loadfile --no-loadscope-reorder -m 'not long'

test-long: $(READY) ## run the long tests: the fault matrix, signals, unreliable networks, Locust (minutes)
	@echo 'running the long tests: several minutes ...'
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile -m long

lint: $(READY) ### ruff
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY) ### mypy, strict
	@$(BIN)/mypy

check: lint types test test-long ## lint, types and all tests

# Python starts of users find bytecode.
bench bench-start bench-far bench-via bench-instead: export PYTHONDONTWRITEBYTECODE :=

bench-memory: $(READY) ### memory over an hour of audio through each transport
	@$(BIN)/python -m benchmarks.memory

bench-stream: $(READY) ### time from the last byte of a sentence to its first audio, without the server's
	@$(BIN)/python -m benchmarks.stream

bench-far: $(READY) ### speak, the vendor's tools and curl at round trips of 0 to 200 ms, and docs/far.svg (FAR=9 make bench-far; minutes)
	@$(BIN)/python -m benchmarks.distance -n $(or $(FAR),5) --svg docs/far.svg

bench-via: $(READY) ### ws, sse and http at round trips of 0 to 200 ms, in each profile of serve (VIA=5 make bench-via; 15 minutes)
	@$(BIN)/python -m benchmarks.far -n $(or $(VIA),9)

bench-writer: $(READY) ### time from a sentence to its audio after pauses of 1, 6 and 20 s (LONG=1 make bench-writer: 70 s too)
	@$(BIN)/python -m benchmarks.slow_writer $(if $(LONG),--long)

bench-start: $(READY) ### start-up time, compared with python -c pass
	@$(BIN)/python -m benchmarks.startup

bench-receive: $(READY) ### added latency and CPU of receiving, compared with a bare reader
	@$(BIN)/python -m benchmarks.receive

bench-check: $(READY) ### check the latency benchmark against servers with known latency (minutes)
	@$(BIN)/python -m benchmarks.bench_check

bench-compare: $(READY) ### false verdicts of bench compare, and changes it finds, simulated and on real runs (minutes)
	@$(BIN)/python -m benchmarks.compare_check

bench-speaker: $(READY) ### output device: first sample, silence after abort, underruns (needs pulseaudio)
	@$(BIN)/python -m benchmarks.speaker

bench-signals: $(READY) ### time from Ctrl-C to silence and to exit, at every stage (minutes; needs pulseaudio)
	@$(BIN)/python -m benchmarks.signals

bench-instead: $(READY) ### a short text, compared with other tools (installs them into .venv-peers)
	@$(BIN)/python -m benchmarks.instead

bench: $(READY) ## all figures of speed and memory in one table, and as JSON in bench.json (minutes)
	@$(BIN)/python -m benchmarks --json bench.json

bench-tab: $(READY) ### time of a TAB in bash, compared with `bash -c true`
	@$(BIN)/python -m benchmarks.tab

bench-locust: $(READY) ### check load over several hosts, in network namespaces, against the server's timestamps (root; minutes)
	@$(BIN)/python -m benchmarks.locust_check

bench-sizing: $(READY) ### CPU and memory of a Locust worker for N streams, for docs/load.md (root; minutes)
	@$(BIN)/python -m benchmarks.sizing

stream-picture: $(READY) ### draw docs/stream.svg from a real run
	@$(BIN)/python -m benchmarks.stream --svg docs/stream.svg

pictures: $(READY) ### draw the pictures of README from real runs (needs tmux)
	@$(BIN)/python -m tools pictures

completions: $(READY) ### write completions/ from the command line
	@$(BIN)/python -m tools completions

architecture: $(READY) ### draw the imports in ARCHITECTURE.md from the code
	@$(BIN)/python -m tools architecture

docs: $(READY) ## write man/, docs/cli.md and tests/data/golden/help from the command line
	@$(BIN)/python -m tools docs

dist: $(READY) ## build sdist and wheel into dist/, reproducibly, and check them
	@.ci/dist

clean: ## remove everything that was generated
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis hello.wav bench.json
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
