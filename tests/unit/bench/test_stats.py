"""Statistics against brute force, published tables, and their nominal coverage."""

from __future__ import annotations

import math
import random
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from smallest_cli.bench.distribution import Distribution
from smallest_cli.bench.stats.comparison import _rank_sums, rise, shift
from smallest_cli.bench.stats.quantiles import (
    CONFIDENCE,
    estimate,
    interval_ranks,
    least_size,
    median,
    median_deviation,
    outliers,
    quantile,
)

samples = st.lists(st.integers(-1000, 1000), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("p", "value"), [(0.05, 15), (0.3, 20), (0.4, 20), (0.5, 35), (1.0, 50), (0.2, 15), (0.21, 20)]
)
def test_nearest_rank_quantile_is_a_measured_value(p: float, value: int) -> None:
    assert quantile([15, 20, 35, 40, 50], p) == value


def test_rank_is_not_affected_by_float_rounding() -> None:
    assert quantile(range(1, 101), 0.07) == 7
    assert quantile(range(1, 101), 0.29) == 29


@given(samples, st.floats(0.001, 1))
def test_quantile_is_the_smallest_value_that_covers_its_share(values: list[int], p: float) -> None:
    found = quantile(sorted(values), p)
    assert sum(value <= found for value in values) >= p * len(values) - 1e-6
    assert sum(value < found for value in values) < p * len(values) + 1e-6


@pytest.mark.parametrize(("p", "size"), [(0.5, 6), (0.9, 36), (0.95, 72), (0.99, 368), (0.999, 3688)])
def test_interval_closes_at_the_reported_sample_size(p: float, size: int) -> None:
    assert least_size(p) == size
    assert estimate(range(size - 1), p).hi is None
    assert estimate(range(size - 1), p).why == f"n<{size}"
    closed = estimate(range(size), p)
    assert closed.hi is not None
    assert closed.why is UNSET


@pytest.mark.parametrize(("n", "low", "high"), [(6, 1, 6), (10, 2, 9), (20, 6, 15), (100, 40, 61)])
def test_median_interval_matches_published_tables(n: int, low: int, high: int) -> None:
    """The ranks of the sign test's interval (Conover, table of the binomial)."""
    assert interval_ranks(n, 0.5) == (low, high)


@pytest.mark.parametrize("p", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [6, 30, 100, 500])
def test_interval_has_its_nominal_coverage(p: float, n: int) -> None:
    """Exactly, by the binomial law, and with the narrowest ranks that leave each tail its share."""
    low, high = interval_ranks(n, p)
    mass = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    covered = sum(mass[k] for k in range(low or 0, high if high is not None else n + 1))
    assert covered >= CONFIDENCE - 1e-9
    tail = (1 - CONFIDENCE) / 2
    assert low is None or sum(mass[:low]) <= tail < sum(mass[: low + 1])
    assert high is None or sum(mass[high:]) <= tail < sum(mass[high - 1 :])


def test_interval_covers_drawn_quantile() -> None:
    rng = random.Random(3)
    hits = 0
    for _ in range(1000):
        found = estimate(sorted(rng.random() for _ in range(100)), 0.9)
        hits += (found.lo or 0) <= 0.9 <= (1 if found.hi is None else found.hi)
    assert 930 <= hits <= 999


def test_outliers_need_a_nonzero_deviation() -> None:
    assert outliers([11, 11, 11, 11, 10, 500, 11]) == []  # more than half are equal
    assert outliers([10.0, 11.5, 12.2, 11.1, 10.4, 500.0, 11.9]) == [5]
    assert outliers([5, 5, 5, 5, 900]) == []
    assert outliers([1, 2]) == []


@given(st.lists(st.floats(0, 1e13), min_size=1))
def test_merged_buckets_keep_three_digits(values: list[float]) -> None:
    here, there = Distribution(1_000.0), Distribution(1_000.0)
    for number, value in enumerate(values):
        (here if number % 2 else there).add(value)
    here.merge(there)
    assert here.values() == pytest.approx(sorted(values), rel=0.0005, abs=501)
    assert (here.low, here.high, here.n) == (min(values), max(values), len(values))
    assert here.floor() <= here.low + 500


def test_exact_distribution_keeps_every_value() -> None:
    found = Distribution()
    for value in (3.25, 1.125, 3.25):
        found.add(value)
    assert found.values() == [1.125, 3.25, 3.25]
    assert (found.floor(), found.quantiles(0.5)) == (1.125, [3.25])


def test_median_and_median_deviation() -> None:
    assert median([3, 1, 2]) == 2
    assert median([4, 1, 2, 3]) == 2.5
    assert median_deviation([1, 1, 2, 2, 4, 6, 9]) == 1


@given(samples, samples)
@settings(max_examples=200, deadline=None)
def test_shift_is_the_median_of_all_differences(first: list[int], second: list[int]) -> None:
    assert shift(first, second).v == median([high - low for high in second for low in first])


@given(st.lists(st.floats(0, 1e3), min_size=150, max_size=170), st.floats(-50, 50))
@settings(max_examples=20, deadline=None)
def test_shift_of_large_samples_is_exact(values: list[float], by: float) -> None:
    second = [value + by for value in values]
    differences = sorted(high - low for high in second for low in values)
    count = len(differences)
    found = shift(values, second)
    assert found.v == (differences[(count + 1) // 2 - 1] + differences[count // 2]) / 2
    assert found.lo in differences
    assert found.hi in differences


@pytest.mark.parametrize(("n", "m"), [(2, 3), (3, 3), (4, 5)])
def test_rank_sum_orders_are_counted(n: int, m: int) -> None:
    counted = [0] * (n * m + 1)
    for places in combinations(range(n + m), n):
        counted[sum(places) - n * (n - 1) // 2] += 1
    assert _rank_sums(n, m) == counted


def test_shift_interval_is_open_for_tiny_samples() -> None:
    assert shift([1, 2, 3], [4, 5, 6]).lo is None
    four = shift([1, 2, 3, 4], [11, 12, 13, 14])
    assert (four.lo, four.hi) == (7, 13)  # n = m = 4: the critical value is 0, the whole range


@pytest.mark.parametrize(
    ("before", "after", "p"),
    [
        ((0, 3), (3, 3), 1 / 20),
        ((1, 10), (9, 10), 101 / 184756),
        ((0, 5), (0, 5), 1.0),
        ((2, 4), (2, 4), 53 / 70),
    ],
)
def test_rise_is_fishers_exact_test(before: tuple[int, int], after: tuple[int, int], p: float) -> None:
    assert rise(*before, *after) == pytest.approx(p)
