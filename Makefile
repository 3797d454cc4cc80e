# Verbs only. Every one works from a fresh clone, and again.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*\#\# .*/\1/p' $(MAKEFILE_LIST))

help: ## say what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | while IFS="$$(printf '\t')" read -r verb what; do printf '  make %-14s %s\n' "$$verb" "$$what"; done

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'smallest needs Python 3.11 or newer: make demo PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo 'Python has no venv here: apt install python3-venv' >&2; exit 1; }
	@echo 'installing into .venv (about 20 s) ...'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[local,dev]'
	@$(BIN)/python -m compileall -q smallest_cli
	@touch $(READY)

demo: $(READY) ## hear it: speak into hello.wav through the offline server
	@$(BIN)/smallest speak --local "Hello. This voice came over a real WebSocket, from the server next door." -o hello.wav
	@echo
	@echo 'hello.wav is there. What to try next:'
	@echo '  . .venv/bin/activate'
	@echo '  smallest speak --local "Your own words" -o words.wav'
	@echo '  echo "Words from a pipe" | smallest speak --local --via sse -o - | aplay -q -t raw -f S16_LE -r 24000 -c 1 -'
	@echo '  SMALLEST_API_KEY=... smallest speak "The real service" -o real.wav'

soak: $(READY) ## thousands of streams, half of them faulty: SOAK=2000 make soak
	@$(BIN)/python -m tests.faults.soak $(or $(SOAK),10000)

kills: $(READY) ## SIGKILL at random times: is the target old or whole? KILLS=2000 make kills
	@$(BIN)/python -m tests.faults.kills $(or $(KILLS),200)

COVERED := tests/unit/audio tests/unit/client tests/unit/synthesis $(addprefix tests/integration/test_,network.py preconnect.py transports.py speaker.py players.py pipe_readers.py) $(addprefix tests/e2e/test_,speak.py stream.py contract.py) tests/faults
coverage: $(READY) ## do the tests take every branch between a fault and a spoilt file? 95 % or it fails (minutes)
	@rm -rf build/coverage && mkdir -p build/coverage
	@$(BIN)/python -m coverage run -m pytest -q -n 2 --dist loadfile -k 'not file_size_limit and not few_file_descriptors' $(COVERED)
	@$(BIN)/python -m coverage combine -q
	@$(BIN)/python -m coverage report

head-to-head: $(READY) ## the same faults for the vendor's tools, edge-tts, curl and us (installs them into .venv-peers)
	@$(BIN)/python -m benchmarks.head_to_head

# pytest caches the asserts that it has rewritten as bytecode, which saves each worker 5 s.
test test-long: export PYTHONDONTWRITEBYTECODE :=

test: $(READY) ## run the tests, but for the long ones
	@$(BIN)/python -m pytest -q -n 4 --dist loadfile -m 'not long'

test-long: $(READY) ## run the long ones: the fault matrix, signals, torture, a bad line, Locust (minutes)
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile -m long

lint: $(READY) ## ruff
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY) ## mypy, strict
	@$(BIN)/mypy

check: lint types test test-long ## lint, types and all tests

bench-memory: $(READY) ## an hour of audio through each transport: is memory flat?
	@$(BIN)/python -m benchmarks.memory

bench-stream: $(READY) ## from a sentence's last byte to its first audio: the tool's own share
	@$(BIN)/python -m benchmarks.stream

bench-far: $(READY) ## ws, sse and http at 0 to 200 ms, to first audio and to exit, in each profile of serve: FAR=5 make bench-far
	@$(BIN)/python -m benchmarks.far -n $(or $(FAR),9)

bench-writer: $(READY) ## a writer that pauses 1, 6 and 20 s (LONG=1: 70 s too): how soon is the next sentence spoken?
	@$(BIN)/python -m benchmarks.slow_writer $(if $(LONG),--long)

bench-start: $(READY) ## how soon the tool starts, beside a bare python
	@$(BIN)/python -m benchmarks.startup

bench-receive: $(READY) ## added latency and CPU of receiving, beside a bare reader
	@$(BIN)/python -m benchmarks.receive

bench-check: $(READY) ## the latency benchmark against servers that tell the truth (minutes)
	@$(BIN)/python -m benchmarks.bench_check

bench-speaker: $(READY) ## the output device: first sample, silence after abort, underruns (needs pulseaudio)
	@$(BIN)/python -m benchmarks.speaker

bench-signals: $(READY) ## Ctrl-C to silence and to exit, at every stage (minutes; needs pulseaudio)
	@$(BIN)/python -m benchmarks.signals

bench-instead: $(READY) ## a short text, beside what one would use instead (installs the others into .venv-peers)
	@$(BIN)/python -m benchmarks.instead

bench: $(READY) ## every figure of speed and memory in one table, and as JSON in bench.json (minutes)
	@$(BIN)/python -m benchmarks --json bench.json

bench-tab: $(READY) ## how long a TAB takes in bash, beside `bash -c true`
	@$(BIN)/python -m benchmarks.tab

bench-locust: $(READY) ## load over several hosts, in network namespaces, against the server's own stamps (root; minutes)
	@$(BIN)/python -m benchmarks.locust_check

bench-sizing: $(READY) ## what a worker of Locust takes for N streams, for docs/load.md (root; minutes)
	@$(BIN)/python -m benchmarks.sizing

stream-picture: $(READY) ## draw docs/stream.svg from a real run
	@$(BIN)/python -m benchmarks.stream --svg docs/stream.svg

pictures: $(READY) ## draw the pictures of README from real runs (needs tmux)
	@$(BIN)/python -m tools pictures

completions: $(READY) ## write completions/ from the command line
	@$(BIN)/python -m tools completions

docs: $(READY) ## write man/, docs/cli.md and tests/data/golden/help from the command line
	@$(BIN)/python -m tools docs

dist: $(READY) ## build sdist and wheel into dist/, twice, and check them
	@.ci/dist

clean: ## remove what was made
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis hello.wav bench.json
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
