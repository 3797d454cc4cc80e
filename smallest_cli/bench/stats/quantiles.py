"""Quantiles with intervals that stay open where the sample is too small, and outlier detection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import median

CONFIDENCE = 0.95
OUTLIER_SCORE = 14.826
"""Multiple of the median deviation from which a value is an outlier: a modified Z-score of 10, as in
hyperfine. Iglewicz and Hoaglin (1993) propose 3.5, which long-tailed latencies exceed all the time."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A quantile and its interval, in the sample's unit; None for a bound that the sample does not give."""

    value: float
    low: float | None
    high: float | None
    why: str | None = None  # why a bound is open, None if none is


def quantile(ordered: Sequence[float], p: float) -> float:
    """Return the nearest-rank quantile: the smallest value that a share `p` of the sample does not exceed.

    `ordered` is ascending and not empty; 0 < p <= 1. The result is always a measured value (Hyndman and Fan,
    1996, definition 1).
    """
    return ordered[_rank(p, len(ordered)) - 1]


def _rank(p: float, n: int) -> int:
    # 0.07 * 100 is 7.000000000000001, and its rank is 7
    return min(n, max(1, math.ceil(round(p * n, 9))))


def estimate(ordered: Sequence[float], p: float, confidence: float = CONFIDENCE) -> Estimate:
    """Return the quantile `p` with its order-statistic interval (Conover, 1971; exact by the binomial law).

    It covers the true quantile with at least `confidence`, whatever the distribution. A bound that would lie
    beyond the sample is open, and `why` names the size from which it is not.
    """
    low, high = interval_ranks(len(ordered), p, confidence)
    why = None
    if low is None or high is None:
        why = f"n<{least_size(p, confidence)}"
    return Estimate(
        quantile(ordered, p),
        None if low is None else ordered[low - 1],
        None if high is None else ordered[high - 1],
        why,
    )


@lru_cache(maxsize=4096)
def interval_ranks(n: int, p: float, confidence: float = CONFIDENCE) -> tuple[int | None, int | None]:
    """Return the ranks, from 1, of the values that bound the quantile `p` of `n` values; None if open.

    With B binomial(n, p), P(B < low) and P(B >= high) are at most half of what confidence leaves each.
    """
    tail = (1 - confidence) / 2
    return _lower_rank(n, p, tail), _upper_rank(n, p, tail)


def _lower_rank(n: int, p: float, tail: float) -> int | None:
    below, rank = 0.0, 0
    while rank < n:
        below += _binomial(n, rank, p)
        if below > tail:
            break
        rank += 1
    return rank or None


def _upper_rank(n: int, p: float, tail: float) -> int | None:
    above, count = 0.0, n
    while count >= 0:
        above += _binomial(n, count, p)
        if above > tail:
            break
        count -= 1
    return count + 1 if count + 1 <= n else None


def _binomial(n: int, k: int, p: float) -> float:
    if p >= 1:
        return float(k == n)
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(ways + k * math.log(p) + (n - k) * math.log1p(-p))


def least_size(p: float, confidence: float = CONFIDENCE) -> int:
    """Return the size of the smallest sample whose interval of the quantile `p` is closed on both sides."""
    tail, rarer = (1 - confidence) / 2, min(p, 1 - p)
    return math.ceil(math.log(tail) / math.log1p(-rarer))


def median_deviation(values: Sequence[float]) -> float:
    """Return the median distance from the median (MAD; Hampel, 1974)."""
    centre = median(values)
    return median([abs(value - centre) for value in values])


def outliers(values: Sequence[float], score: float = OUTLIER_SCORE) -> list[int]:
    """Return the indices of outliers; none if more than half of the values are equal: there is no scale."""
    if len(values) < 3 or not (deviation := median_deviation(values)):
        return []
    centre = median(values)
    return [index for index, value in enumerate(values) if abs(value - centre) > score * deviation]
