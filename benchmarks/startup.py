"""How soon the tool starts, as ratios to a bare `python -c pass` of the same run, interleaved.

Prints a table, writes JSON with --json FILE, and ends with 1 where a ratio is above twice its goal while the
floor was calm. A text is at the server when the offline server's own stamp says so.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns

from smallest_cli.service import open_local_service

GATE = 2.0
TABLE_GOAL = 1.3
CALM = 1.5
"""The floor is calm while its third quartile is at most this many times its first."""

CLI = [sys.executable, "-m", "smallest_cli"]


@dataclass(frozen=True)
class Row:
    """A figure: what is timed, in ms, and the goal of its ratio to the floor."""

    name: str
    goal: float | None
    time_ms: Callable[[], float]


def whole(*command: str) -> Callable[[], float]:
    """The wall time of a process."""

    def once() -> float:
        began = perf_counter_ns()
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
        return (perf_counter_ns() - began) / 1e6

    return once


def on_terminal(*command: str) -> Callable[[], float]:
    """The same, with a terminal for stdout, where help is drawn by rich."""

    def once() -> float:
        parent, child = pty.openpty()
        began = perf_counter_ns()
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=child,
            env=os.environ | {"TERM": "xterm", "PAGER": "cat", "SMALLEST_API_KEY": ""},
        ):
            os.close(child)
            try:
                while os.read(parent, 65_536):
                    pass
            except OSError:
                pass  # the other side is closed
        os.close(parent)
        return (perf_counter_ns() - began) / 1e6

    return once


def text_at_server(base_url: str, key: str, log: Path) -> Callable[[], float]:
    """From the start of `speak` to the text at the server, over a WebSocket, into a WAV."""
    target = str(log.with_name("out.wav"))
    command = [*CLI, "speak", "--base-url", base_url, "Hello.", "-o", target]
    env = os.environ | {"SMALLEST_API_KEY": key}

    def once() -> float:
        log.write_text("")
        began = perf_counter_ns()
        subprocess.run(command, stdin=subprocess.DEVNULL, env=env, check=True)
        return (json.loads(log.read_text().splitlines()[0])["received_ns"] - began) / 1e6

    return once


def main() -> int:
    """The exit code: 1 where a gate is missed on a calm machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=15)
    parser.add_argument("--json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log.jsonl")
        with open_local_service(behaviour={"log": str(log)}) as service:
            rows = [
                Row("python -c pass", None, whole(sys.executable, "-c", "pass")),
                Row("--version", 1.5, whole(*CLI, "--version")),
                Row("--help, plain", 6, whole(*CLI, "--help")),
                Row("--help, rich", 13, on_terminal(*CLI, "--help")),
                Row("voices, as a table", None, on_terminal(*CLI, "voices")),
                Row("speak: text at server", 8, text_at_server(service.base_url, service.key.reveal(), log)),
            ]
            times: dict[str, list[float]] = {row.name: [] for row in rows}
            for _ in range(options.n):
                for row in rows:
                    times[row.name].append(row.time_ms())
    return report(rows, times, options.json)


def report(rows: list[Row], times: dict[str, list[float]], path: str | None) -> int:
    """Print the table; the exit code."""
    floor = statistics.median(times[rows[0].name])
    low, _, high = statistics.quantiles(times[rows[0].name], n=4)
    calm = high / low <= CALM
    missed = False
    print(f"{'':24} {'median':>9} {'quartiles':>17} {'ratio':>6} {'goal':>5}")
    for row in rows:
        q1, median, q3 = statistics.quantiles(times[row.name], n=4)
        ratio = median / floor
        over = row.goal is not None and ratio > row.goal
        missed = missed or (over and calm and ratio > GATE * (row.goal or 1))
        goal = f"{row.goal:5g}" if row.goal else "     "
        print(
            f"{row.name:24} {median:6.1f} ms {q1:7.1f} .. {q3:6.1f} {ratio:6.2f} {goal}"
            f"{'  above its goal' if over else ''}"
        )
    table, page = (statistics.median(times[name]) for name in ("voices, as a table", "--help, rich"))
    over = table / page > TABLE_GOAL
    missed = missed or (calm and table / page > GATE * TABLE_GOAL)
    mark = "  above its goal" if over else ""
    print(f"the table of all voices / the rich help: {table / page:.2f}, goal {TABLE_GOAL}{mark}")
    if not calm:
        print("the floor was not calm: nothing is judged")
    if path:
        Path(path).write_text(json.dumps({"times_ms": times, "calm": calm}))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
