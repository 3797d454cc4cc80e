"""Measure each transport under network latency: ms from process start to the first audio byte and to exit.

Runs `speak -o -` over ws, sse and http with TLS, through a relay that adds the round trip, for one sentence
and for three short paragraphs, in each profile of the offline server. Each figure is paired with that of a
bare client (benchmarks/bare_client.py), run alternately. `speak` loads the complete system CA bundle, the
bare client one certificate. Runs that wait 4 s for `complete` are overlapped, as waiting needs no CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from benchmarks.figures import Figure, host_info, ratio
from benchmarks.relay import open_relay
from benchmarks.startup import CLI, write_certificate
from smallest_cli.client.service import open_local_service
from smallest_cli.models import VIAS

PROFILES = ("live", "documented", "instant")
ROUND_TRIPS_MS = (0, 30, 100, 200)
TEXTS = {
    "short": ["Hello there."],
    "3 parag.": ["Hello there.", "This is the second paragraph.", "And this is the last one."],
}
LIVE_GOAL = 1.1
"""Maximum ratio of wall time over sse (auto): profile live / profile instant."""
TIMEOUT_S = 60
BARE = str(Path(__file__).with_name("bare_client.py"))


class Run:
    """Start a process and block until its first byte of audio; a thread reads the rest and waits for exit."""

    def __init__(self, command: Sequence[str], env: dict[str, str]) -> None:
        self._command = command
        started = perf_counter_ns()
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
        )
        assert self._process.stdout
        os.read(self._process.stdout.fileno(), 1)
        self.first_ms = (perf_counter_ns() - started) / 1e6
        self.exit_ms = 0.0
        self._thread = threading.Thread(target=self._finish, args=(started,))
        self._thread.start()

    def _finish(self, started: int) -> None:
        assert self._process.stdout
        while os.read(self._process.stdout.fileno(), 65_536):
            pass
        self._process.wait()
        self.exit_ms = (perf_counter_ns() - started) / 1e6

    def join(self) -> None:
        """Wait for the process to exit. Raises SystemExit if it failed."""
        self._thread.join(TIMEOUT_S)
        assert self._process.stdout
        assert self._process.stderr
        errors = self._process.stderr.read().decode()
        self._process.stdout.close()
        self._process.stderr.close()
        if self._process.returncode:
            sys.exit(f"{self._command} ended with {self._process.returncode}: {errors}")


@dataclass(frozen=True)
class Cell:
    """Times in ms of all runs of `speak` and of the bare client under one condition."""

    profile: str
    text: str
    via: str
    round_trip_ms: int
    first: list[float]
    first_floor: list[float]
    exit: list[float]
    exit_floor: list[float]


@dataclass(frozen=True)
class Endpoint:
    """A service: URL, CA files for `speak` and for the bare client, and API key."""

    url: str
    bundle: str
    authority: str
    key: str


def measure_cell(endpoint: Endpoint, profile: str, text: str, via: str, round_trip_ms: int, n: int) -> Cell:
    """Run both clients alternately n times, after one warm-up run of each."""
    paragraphs = TEXTS[text]
    options = ["--base-url", endpoint.url, "--ca-file", endpoint.bundle, "--via", via]
    tool = [*CLI, "speak", *options, "-o", "-", "\n\n".join(paragraphs)]
    host, _, port = endpoint.url.rpartition("/")[2].partition(":")
    # The profile `documented` closes the socket after each request.
    each = "-each" if via == "ws" and profile == "documented" else ""
    floor = [sys.executable, BARE, via + each, host, port, endpoint.authority, *paragraphs]
    env = os.environ | {"SMALLEST_API_KEY": endpoint.key}
    overlap = via == "ws" and profile != "instant"
    runs: tuple[list[Run], list[Run]] = ([], [])
    for _ in range(n + 1):
        for command, finished in zip((tool, floor), runs, strict=True):
            finished.append(Run(command, env))
            if not overlap:
                finished[-1].join()
    if overlap:
        for run in (*runs[0], *runs[1]):
            run.join()
    ours, bare = runs[0][1:], runs[1][1:]
    return Cell(
        profile,
        text,
        via,
        round_trip_ms,
        [run.first_ms for run in ours],
        [run.first_ms for run in bare],
        [run.exit_ms for run in ours],
        [run.exit_ms for run in bare],
    )


def measure(n: int, profiles: Sequence[str], round_trips_ms: Sequence[int]) -> Iterator[Cell]:
    """Yield all cells in table order, row by row."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificate = write_certificate(folder)
        for profile in profiles:
            behaviour: dict[str, Any] = {"profile": profile, "concurrency": 100} | certificate
            with open_local_service(behaviour=behaviour) as service:
                for text, trip in product(TEXTS, round_trips_ms):
                    far = open_relay(service.base_url, trip / 1000) if trip else nullcontext(service.base_url)
                    with far as url:
                        key = service.key.reveal()
                        endpoint = Endpoint(
                            url, str(folder / "bundle.pem"), str(folder / "authority.pem"), key
                        )
                        for via in VIAS:
                            yield measure_cell(endpoint, profile, text, via, trip, n)


def print_table(cells: Iterator[Cell], n: int) -> list[Cell]:
    """Print each row as soon as it is complete. Returns all cells."""
    print(f"TLS, ms from process start, medians of {n}: speak/bare client")
    print(f"{'':27}{'first audio on stdout':^36}{'exit':^36}")
    names = "".join(f"{via:^12}" for via in VIAS)
    print(f"{'profile':<11}{'text':<9}{'RTT':>6} {names}{names}".rstrip())
    printed: list[Cell] = []
    for cell in cells:
        printed.append(cell)
        if len(printed) % len(VIAS) == 0:
            row = printed[-len(VIAS) :]
            firsts = [_pair(each.first, each.first_floor) for each in row]
            exits = [_pair(each.exit, each.exit_floor) for each in row]
            head = f"{cell.profile:<11}{cell.text:<9}{cell.round_trip_ms:>6}"
            print(head + "".join(firsts + exits), flush=True)
    return printed


def _pair(tool: list[float], floor: list[float]) -> str:
    return f"{statistics.median(tool):>6.0f}/{statistics.median(floor):<5.0f}"


def compare_profiles(cells: list[Cell]) -> Iterator[Figure]:
    """Compare the time to exit over sse (auto) in the profiles live and instant."""
    exits = {(cell.profile, cell.text, cell.round_trip_ms): cell for cell in cells if cell.via == "sse"}
    for (profile, text, trip), cell in exits.items():
        other = exits.get(("instant", text, trip))
        if profile == "live" and other:
            name = f"exit over sse, live / instant, {text}, {trip} ms"
            # The two are measured minutes apart, so they are comparable only if the floor is stable.
            floors = [*cell.exit_floor, *other.exit_floor]
            yield ratio(name, cell.exit, other.exit, LIVE_GOAL, reference=floors)


def main() -> int:
    """Run the benchmark. Returns 1 if a figure gates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=9, choices=range(2, 100), metavar="N")
    parser.add_argument("--profile", choices=PROFILES, action="append")
    parser.add_argument("--round-trip", type=int, metavar="MS", action="append")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    pending_cells = measure(options.n, options.profile or PROFILES, options.round_trip or ROUND_TRIPS_MS)
    cells = print_table(pending_cells, options.n)
    figures = list(compare_profiles(cells))
    print()
    for figure in figures:
        mark = "" if figure.passed else "  MISSED"
        print(f"{figure.name:<46} {figure.measured:5.2f}   goal {figure.goal}{mark}")
    if options.json:
        result = host_info() | {"cells": list(map(asdict, cells)), "figures": list(map(asdict, figures))}
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n")
    return int(any(figure.gates for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
