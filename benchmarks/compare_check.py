"""Check how often `smallest bench compare` reports a change where there is none, and finds one that there is.

Pairs are simulated, and made from real runs against the offline server, every run with every other. Exits
with 1 if more than 2 % of the pairs without a change have a verdict, or less than 95 % of those with one.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from smallest_cli.bench.compare import MIN_EFFECT_MS, compare_runs
from smallest_cli.bench.results import INVALID
from smallest_cli.bench.stats.comparison import compare
from smallest_cli.bench.storage import read_result

MIN_EFFECT = 0.02  # the default of `bench compare`
MAX_FALSE, MIN_FOUND = 0.02, 0.95
CHANGE = 1.1
MEDIAN_MS = 200.0


@dataclass(frozen=True)
class Noise:
    """A service's noise: log-deviations of trials and of whole runs, and correlation of successive trials."""

    name: str
    trials: float
    runs: float = 0.0
    correlation: float = 0.0

    def sample(self, rng: random.Random, n: int, factor: float = 1.0) -> list[float]:
        """Return the times of one run in ms, as a first-order autoregressive process of their logarithms."""
        run, state = rng.gauss(0, self.runs), rng.gauss(0, 1)
        fresh = math.sqrt(1 - self.correlation**2)
        values = []
        for _ in range(n):
            values.append(MEDIAN_MS * factor * math.exp(run + self.trials * state))
            state = self.correlation * state + fresh * rng.gauss(0, 1)
        return values


NOISES = (
    Noise("independent trials, 20 %", 0.2),
    Noise("the same, runs differ by 0.5 %", 0.2, runs=0.005),
    Noise("successive trials correlate by 0.5, 12 %", 0.12, correlation=0.5),
    Noise("by 0.8, 5 %; runs differ by 0.5 %", 0.05, runs=0.005, correlation=0.8),
)


def share(noise: Noise, rng: random.Random, n: int, pairs: int, factor: float) -> tuple[float, float]:
    """Return the shares of pairs with the verdict slower, and with slower or faster."""
    words = Counter(
        compare(noise.sample(rng, n), noise.sample(rng, n, factor), MIN_EFFECT, minimum=MIN_EFFECT_MS).word
        for _ in range(pairs)
    )
    return words["slower"] / pairs, (words["slower"] + words["faster"]) / pairs


def simulated(pairs: int) -> Iterator[tuple[str, bool]]:
    """Yield a row for each noise, and whether it is within the limits."""
    rng = random.Random(1)
    for noise in NOISES:
        false = {n: share(noise, rng, n, pairs, 1.0)[1] for n in (30, 100, 300)}
        found = share(noise, rng, 300, pairs, CHANGE)[0]
        rates = " | ".join(f"{rate:.1%}" for rate in false.values())
        yield (
            f"| {noise.name} | {rates} | {found:.1%} |",
            max(false.values()) <= MAX_FALSE and found >= MIN_FOUND,
        )


def real(folder: Path, runs: int, trials: int) -> Iterator[tuple[str, bool]]:
    """Measure the offline server again and again; yield a row without and with --force."""
    command = [sys.executable, "-P", "-m", "smallest_cli", "bench", "--local", "-n", str(trials)]
    results = []
    for number in range(runs):
        path = folder / f"{number}.json"
        subprocess.run(
            [*command, "--transport", "ws,sse", "--conn", "warm", "--save", str(path), "-q"],
            env=os.environ | {"SMALLEST_CONFIG_DIR": str(folder / "config")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        results.append(read_result(path))
    verdicts = Counter(each.run.calibration.verdict for each in results)
    runs_text = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
    for force in (False, True):
        compared = [compare_runs(a, b, [], MIN_EFFECT, force=force) for a, b in combinations(results, 2)]
        words = Counter("invalid" if found.exit == INVALID else found.verdict for found in compared)
        counts = ", ".join(f"{count} {word}" for word, count in words.most_common())
        false = (words["slower"] + words["faster"]) / len(compared)
        row = f"| {len(compared)} | {runs_text} | {'yes' if force else 'no'} | {counts} | {false:.1%} |"
        yield row, force or false <= MAX_FALSE  # forced, nothing is promised


def main() -> int:
    """Run the check. Returns 1 if a rate is beyond its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=400, help="simulated pairs of each kind")
    parser.add_argument("--runs", type=int, default=40, help="real runs")
    parser.add_argument("-n", type=int, default=30, help="trials per arm of a real run")
    options = parser.parse_args()
    passed = True
    print("| noise | n 30 | n 100 | n 300 | 10 % found, n 300 |\n|---|--:|--:|--:|--:|")
    for row, kept in simulated(options.pairs):
        passed &= kept
        print(row, flush=True)
    print("\n| pairs | runs | --force | verdicts | false |\n|--:|---|---|---|--:|")
    with tempfile.TemporaryDirectory() as folder:
        for row, kept in real(Path(folder), options.runs, options.n) if options.runs > 1 else ():
            passed &= kept
            print(row, flush=True)
    return int(not passed)


if __name__ == "__main__":
    sys.exit(main())
