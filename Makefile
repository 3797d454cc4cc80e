# Verbs only. Every one works from a fresh clone, and again.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test lint types check bench-memory bench-stream bench-start bench-receive bench-check bench-speaker bench-speed stream-picture soak head-to-head coverage clean

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
	@$(BIN)/python -m tests.soak $(or $(SOAK),10000)

head-to-head: $(READY) ## the same faults for edge-tts, the official SDK, curl and us (installs them elsewhere)
	@$(BIN)/python benchmarks/head_to_head.py

test: $(READY) ## run the tests
	@$(BIN)/python -m pytest -q

lint: $(READY) ## ruff
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY) ## mypy, strict
	@$(BIN)/mypy

check: lint types test ## lint, types and tests

bench-memory: $(READY) ## an hour of audio through each transport: is memory flat?
	@$(BIN)/python benchmarks/memory.py

bench-stream: $(READY) ## from a sentence's last byte to its first audio: the tool's own share
	@$(BIN)/python benchmarks/stream.py

bench-start: $(READY) ## how soon the tool starts, beside a bare python
	@$(BIN)/python benchmarks/startup.py

bench-receive: $(READY) ## added latency and CPU of receiving, beside a bare reader
	@$(BIN)/python benchmarks/receive.py

bench-check: $(READY) ## the latency benchmark against servers that tell the truth (minutes)
	@$(BIN)/python benchmarks/bench_check.py

bench-speaker: $(READY) ## the loudspeaker: first sample, silence after abort, underruns (needs pulseaudio)
	@$(BIN)/python benchmarks/speaker.py

bench-speed: bench-start bench-receive bench-stream bench-memory ## every figure of speed and memory

stream-picture: $(READY) ## draw docs/stream.svg from a real run
	@$(BIN)/python benchmarks/stream.py --svg docs/stream.svg

clean: ## remove what was made
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis hello.wav
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
