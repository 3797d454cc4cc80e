"""Measure TAB completion in bash and fish, compared with a shell that runs `true`, run alternately.

The first TAB in a shell includes loading the completion script.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter_ns

from benchmarks.figures import GATE, Figure, is_stable, report

GOAL_MS = 15.0
REPEATS = 20
BASH, FISH = "bash -c true", "fish -c true"
SCRIPTS = Path(__file__).parent.parent / "completions"
LINES = {
    "a command": ["smallest", "s"],
    "an option": ["smallest", "speak", "hello", "--"],
    "a voice": ["smallest", "speak", "hello", "-o", "x.wav", "--voice", "m"],
    "a file": ["smallest", "speak", "hello", "-o", ""],
}


def bash(words: list[str], tabs: int) -> list[str]:
    """Return a bash command that completes a line `tabs` times."""
    line = " ".join(f"'{word}'" for word in words)
    code = (
        f". '{SCRIPTS}/smallest.bash'; for ((n = 0; n < {tabs}; n++)); do "
        f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _smallest; done"
    )
    return ["bash", "--norc", "--noprofile", "-c", code]


def fish(words: list[str]) -> list[str]:
    """Return a fish command that completes a line once."""
    code = f"source '{SCRIPTS}/smallest.fish'; complete -C '{' '.join(words)}'"
    return ["fish", "--no-config", "-c", code]


def time_ms(command: list[str]) -> float:
    """Return the wall time of a process in ms."""
    start = perf_counter_ns()
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    return (perf_counter_ns() - start) / 1e6


def measure(n: int) -> Iterator[Figure]:
    """Yield all figures once `n` rounds are complete."""
    rows = {BASH: ["bash", "--norc", "--noprofile", "-c", "true"]}
    rows |= {f"bash, first TAB: {name}": bash(words, 1) for name, words in LINES.items()}
    rows |= {f"bash, {REPEATS} TABs: {name}": bash(words, REPEATS) for name, words in LINES.items()}
    if shutil.which("fish"):
        rows[FISH] = ["fish", "--no-config", "-c", "true"]
        rows |= {f"fish, first TAB: {name}": fish(words) for name, words in LINES.items()}
    times: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(n):
        for name, command in rows.items():
            times[name].append(time_ms(command))
    for name, row_times in times.items():
        if name not in (BASH, FISH):
            yield compare_with_floor(name, row_times, times[FISH if name.startswith("fish") else BASH])


def compare_with_floor(name: str, times: list[float], floor: list[float]) -> Figure:
    """Return the time per TAB in ms in excess of the floor. Only bash has a goal."""
    median, floor_ms = statistics.median(times), statistics.median(floor)
    per_tab = (median - floor_ms) / (REPEATS if f"{REPEATS} TABs" in name else 1)
    details = f"{per_tab:6.1f} ms each   {median:.1f} ms less {floor_ms:.1f} ms"
    if not name.startswith("bash"):
        return Figure(name, per_tab, details)
    return Figure(
        name,
        per_tab,
        details,
        f"{GOAL_MS:g} ms",
        per_tab <= GOAL_MS,
        is_stable(floor) and per_tab > GATE * GOAL_MS,
    )


def main() -> int:
    """Run the benchmark. Returns 1 if a figure gates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=15)
    parser.add_argument("--json")
    options = parser.parse_args()
    return report(measure(options.n), options.json)


if __name__ == "__main__":
    sys.exit(main())
