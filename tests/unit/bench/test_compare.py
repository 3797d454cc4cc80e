"""Comparison of two runs: verdicts, false verdicts on equal runs, and what it takes to find a change."""

from __future__ import annotations

import json
import random
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from msgspec.structs import replace

from benchmarks.compare_check import CHANGE, MAX_FALSE, MIN_FOUND, NOISES, Noise, share
from smallest_cli.bench.compare import RunComparison, compare_runs
from smallest_cli.bench.report.format import overall_text
from smallest_cli.bench.report.terminal import render_comparison
from smallest_cli.bench.results import summarise
from smallest_cli.bench.schema import Result, Samples
from smallest_cli.bench.stats.comparison import compare, dependence
from smallest_cli.bench.storage import as_text
from smallest_cli.errors import UsageError
from tests.support.command import smallest
from tests.support.trials import CALIBRATION, run, trial


def test_comparison_words() -> None:
    base = [100 + 7 * n % 60 / 10 for n in range(60)]
    assert compare(base, [value + 20 for value in base], 0.05).word == "slower"
    assert compare(base, [value - 20 for value in base], 0.05).word == "faster"
    assert compare(base, [value + 0.5 for value in base], 0.05).word == "equivalent"
    undecided = compare(base[:5], [value + 3 for value in base[:5]], 0.00001)
    assert undecided.word in ("slower", "inconclusive")
    wide = compare([1, 100, 200, 300, 50], [2, 90, 210, 310, 40], 0.05)
    assert wide.word == "inconclusive"
    assert wide.needed is not None
    assert wide.needed > 100


def test_change_below_absolute_minimum_is_equivalent() -> None:
    assert compare([0.0] * 40, [0.0] * 40, 0.05).word == "equivalent"
    assert compare([0.0] * 40, [0.0] * 39 + [1.0], 0.05).word == "equivalent"
    assert compare([0.0] * 40, [0.0, 1.0] * 20, 0.05).word == "inconclusive"
    assert compare([0.0] * 40, [0.0] * 40, 0.05, minimum=1.0).word == "equivalent"
    assert compare([0.0] * 40, [2.0] * 40, 0.05, minimum=1.0).word == "slower"


def test_small_samples_report_the_size_needed() -> None:
    assert compare([100.0, 101, 102], [100.5, 101.5, 102.5], 0.5).needed == 4  # which closes the interval
    wide = compare([50.0, 100, 150], [60.0, 100, 160], 0.05).needed
    assert wide is not None
    assert wide > 100


def test_needed_size_matches_the_textbook_formula() -> None:
    """About 620 a side for 5 % at a log-deviation of 0.3, with a power of 80 %."""
    rng = random.Random(5)
    needed = []
    for _ in range(30):
        a, b = ([rng.lognormvariate(5, 0.3) for _ in range(80)] for _ in range(2))
        found = compare(a, b, 0.05, ordered=False)
        needed += [found.needed] if found.needed else []
    assert 450 < median(needed) < 850


@pytest.mark.parametrize("noise", NOISES, ids=[noise.name for noise in NOISES])
def test_equal_runs_have_no_verdict_and_a_change_of_ten_percent_is_found(noise: Noise) -> None:
    rng = random.Random(4)
    assert share(noise, rng, 30, 100, 1.0)[1] <= 2 * MAX_FALSE
    assert share(noise, rng, 100, 50, 1.0)[1] <= 2 * MAX_FALSE
    assert share(noise, rng, 300, 20, CHANGE)[0] >= MIN_FOUND
    assert share(noise, rng, 300, 10, 1 / CHANGE)[0] == 0


@pytest.mark.parametrize(
    ("by", "word"), [(1.5, "inconclusive"), (4.0, "slower"), (-4.0, "faster"), (-1.5, "inconclusive")]
)
def test_complete_interval_must_be_beyond_what_matters(by: float, word: str) -> None:
    rng = random.Random(6)
    first, second = ([rng.gauss(100, 1) for _ in range(60)] for _ in range(2))
    found = compare(first, [value + by for value in second], 0.0, minimum=1.5)
    assert found.word == word
    assert found.shift.lo is not None
    assert found.shift.hi is not None
    assert (found.shift.lo > 1.5 or found.shift.hi < -1.5) is (word != "inconclusive")


def test_shift_below_the_measurement_noise_is_neither_slower_nor_equivalent() -> None:
    rng = random.Random(6)
    first, second = ([rng.gauss(100, 1) for _ in range(60)] for _ in range(2))
    later = [value + 4 for value in second]
    assert compare(first, later, 0.02, noise=3.0).word == "slower"
    undecided = compare(first, later, 0.02, noise=5.0)
    assert (undecided.word, undecided.needed) == ("inconclusive", None)
    assert compare(later, first, 0.02, noise=3.0).word == "faster"
    assert compare(later, first, 0.02, noise=5.0).word == "inconclusive"
    assert compare(first, second, 0.02, noise=5.0).word == "equivalent"


@pytest.mark.parametrize(
    ("correlation", "least", "most"), [(0.0, 1.0, 1.5), (0.5, 2.0, 4.5), (0.9, 8.0, 30.0)]
)
def test_dependence_of_successive_values_is_measured(correlation: float, least: float, most: float) -> None:
    rng, noise = random.Random(8), Noise("", 0.1, correlation=correlation)
    assert least <= median(dependence(noise.sample(rng, 300)) for _ in range(30)) <= most


@pytest.mark.parametrize(
    "values", [[], [1.0], [3.0, 1.0] * 4, [5.0] * 100, [0.0] * 99 + [1.0], [1.0, 2.0] * 50]
)
def test_dependence_of_few_equal_or_alternating_values_is_none(values: list[float]) -> None:
    assert dependence(values) == pytest.approx(1.0, abs=0.05)


def test_drift_within_a_run_widens_the_interval() -> None:
    rng = random.Random(9)
    values = [rng.gauss(100, 1) for _ in range(100)]
    drifting = [value + n / 10 for n, value in enumerate(values)]
    shuffled = rng.sample(drifting, len(drifting))
    ordered, mixed = (
        compare(each, [value + 5 for value in each], 0.02).shift for each in (drifting, shuffled)
    )
    assert ordered.hi is not None
    assert ordered.lo is not None
    assert mixed.hi is not None
    assert mixed.lo is not None
    assert ordered.hi - ordered.lo > 1.5 * (mixed.hi - mixed.lo)


def made(
    by: float = 1.0, verdict: str = "ok", delay_ms: float = 0.2, n: int = 60, measured: str = "lag_ms"
) -> Result:
    """A run whose times are changed by a factor, with that verdict and that delay."""
    rng = random.Random(int(1000 * by) + n)
    delays = {"p50": 0.1, "p99": delay_ms, "max": delay_ms, "n": 9}
    calibration = CALIBRATION | {"verdict": verdict, measured: delays}
    return summarise(run(calibration=calibration), [trial(i, 100 * by + rng.random()) for i in range(n)])


def outcome(found: RunComparison) -> tuple[str, int]:
    return found.verdict, found.exit


@pytest.mark.parametrize("by", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(("a", "b"), [("suspect", "ok"), ("ok", "suspect"), ("suspect", "suspect")])
def test_suspect_run_is_inconclusive_unless_forced(a: str, b: str, by: float) -> None:
    first, second = made(verdict=a), made(by, verdict=b)
    found = compare_runs(first, second, [], 0.02)
    assert outcome(found) == ("inconclusive", 23)
    name = "A" if a == "suspect" else "B"
    assert f"run {name} is suspect (--force ignores it)" in overall_text(found)
    forced = compare_runs(first, second, [], 0.02, force=True)
    assert outcome(forced) == {0.5: ("faster", 0), 1.0: ("equivalent", 0), 2.0: ("slower", 21)}[by]
    assert "suspect" not in overall_text(forced)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(("a", "b"), [("invalid", "ok"), ("suspect", "invalid"), ("invalid", "suspect")])
def test_invalid_run_is_22_even_if_forced(a: str, b: str, force: bool) -> None:
    assert compare_runs(made(verdict=a), made(2.0, verdict=b), [], 0.02, force=force).exit == 22


@pytest.mark.parametrize("measured", ["lag_ms", "floor_ms"])
def test_shift_below_the_delays_of_either_run_has_no_verdict(measured: str) -> None:
    for delays in ((0.2, 15.0), (15.0, 0.2)):
        first, second = (
            made(by, delay_ms=ms, measured=measured) for by, ms in zip((1.0, 1.1), delays, strict=True)
        )
        found = compare_runs(first, second, [], 0.02)
        assert outcome(found) == ("inconclusive", 23)
        assert "shifts under 15.0 ms" in " ".join(line for _, line in render_comparison(found, 200))
    assert outcome(compare_runs(made(), made(1.1), [], 0.02)) == ("slower", 21)


def test_values_of_a_histogram_are_not_taken_for_a_drift() -> None:
    def unordered(result: Result) -> Result:
        arms = [
            replace(arm, samples=Samples(ttfb=sorted(arm.samples.of("ttfb")))) for arm in result.arms
        ]  # as in the result of a load run
        return replace(result, arms=arms)

    found = compare_runs(unordered(made()), unordered(made(1.02)), [], 0.0)
    (row,) = found.comparisons
    assert row.shift_ms.hi is not None
    assert row.shift_ms.lo is not None
    assert row.shift_ms.hi - row.shift_ms.lo < 0.5


def compared(folder: Path, first: Result, second: Result, *options: str) -> Any:
    for name, result in (("a.json", first), ("b.json", second)):
        (folder / name).write_text(as_text(result))
    return smallest(folder, "bench", "compare", "a.json", "b.json", *options)


def test_command_ends_with_23_for_a_suspect_run_and_21_if_forced(tmp_path: Path) -> None:
    runs = made(verdict="suspect"), made(1.2)
    ran = compared(tmp_path, *runs)
    assert ran.code == 23
    assert b"overall: inconclusive: run A is suspect (--force ignores it)" in ran.out
    ran = compared(tmp_path, *runs, "--force", "--json")
    assert (ran.code, json.loads(ran.out)["verdict"]) == (21, "slower")


def test_metric_that_neither_run_has_is_refused() -> None:
    with pytest.raises(UsageError, match="no arm has cancel in both runs"):
        compare_runs(made(), made(), ["ttfb", "cancel"], 0.02)
