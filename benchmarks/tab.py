"""How long a TAB takes in bash, over `bash -c true` of the same run, interleaved; fish beside its own floor.

The first TAB of a shell reads the script too; later ones do not. Ends with 1 where a bash row is more than
twice its goal above the floor while the floor was calm.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter_ns

GOAL_MS = 15.0
GATE = 2.0
CALM = 1.5
TIMES = 20
SCRIPTS = Path(__file__).parent.parent / "completions"
LINES = {
    "a command": ["smallest", "s"],
    "an option": ["smallest", "speak", "hello", "--"],
    "a voice": ["smallest", "speak", "hello", "-o", "x.wav", "--voice", "m"],
    "a file": ["smallest", "speak", "hello", "-o", ""],
}


def bash(words: list[str], tabs: int) -> list[str]:
    """A bash in which TAB is pressed so many times at the end of a line."""
    line = " ".join(f"'{word}'" for word in words)
    code = (
        f". '{SCRIPTS}/smallest.bash'; for ((n = 0; n < {tabs}; n++)); do "
        f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _smallest; done"
    )
    return ["bash", "--norc", "--noprofile", "-c", code]


def fish(words: list[str]) -> list[str]:
    """A fish in which TAB is pressed once."""
    code = f"source '{SCRIPTS}/smallest.fish'; complete -C '{' '.join(words)}'"
    return ["fish", "--no-config", "-c", code]


def time_ms(command: list[str]) -> float:
    """The wall time of a process."""
    began = perf_counter_ns()
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    return (perf_counter_ns() - began) / 1e6


def main() -> int:
    """The exit code: 1 where the gate is missed on a calm machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=15)
    options = parser.parse_args()
    floor = "bash -c true"
    rows = {floor: ["bash", "--norc", "--noprofile", "-c", "true"]}
    rows |= {f"bash, first TAB: {name}": bash(words, 1) for name, words in LINES.items()}
    rows |= {f"bash, {TIMES} TABs: {name}": bash(words, TIMES) for name, words in LINES.items()}
    if shutil.which("fish"):
        rows["fish -c true"] = ["fish", "--no-config", "-c", "true"]
        rows |= {f"fish, first TAB: {name}": fish(words) for name, words in LINES.items()}
    times: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(options.n):
        for name, command in rows.items():
            times[name].append(time_ms(command))
    return report(times, floor)


def report(times: dict[str, list[float]], floor: str) -> int:
    """Print the table; the exit code."""
    low, _, high = statistics.quantiles(times[floor], n=4)
    calm = high / low <= CALM
    missed = False
    print(f"{'':28} {'median':>9}  {'above its floor, for each TAB'}")
    for name, found in times.items():
        median = statistics.median(found)
        base = statistics.median(times["fish -c true" if name.startswith("fish") else floor])
        above = (median - base) / (TIMES if f"{TIMES} TABs" in name else 1)
        judged = name.startswith("bash,")
        missed = missed or (judged and calm and above > GATE * GOAL_MS)
        over = "  above its goal" if judged and above > GOAL_MS else ""
        print(f"{name:28} {median:6.1f} ms  {above:6.1f} ms{over}")
    if not calm:
        print("the floor was not calm: nothing is judged")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
