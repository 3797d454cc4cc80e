"""Quantiles with confidence intervals, open if the sample is too small, and outlier detection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from statistics import median

from msgspec import UNSET

from smallest_cli.bench.schema import Estimate

CONFIDENCE = 0.95
OUTLIER_SCORE = 14.826
"""Multiple of the median deviation from which a value is an outlier: a modified Z-score of 10, as in
hyperfine. Iglewicz and Hoaglin (1993) propose 3.5, which long-tailed latencies often exceed."""


def quantile(ordered: Sequence[float], p: float) -> float:
    """Return the nearest-rank quantile: the smallest value that a share `p` of the sample does not exceed.

    `ordered` is ascending and not empty; 0 < p <= 1. The result is always a measured value (Hyndman and Fan,
    1996, definition 1).
    """
    rank = math.ceil(round(p * len(ordered), 9))  # 0.07 * 100 is 7.000000000000001, and its rank is 7
    return ordered[min(len(ordered), max(1, rank)) - 1]


def estimate(ordered: Sequence[float], p: float, confidence: float = CONFIDENCE) -> Estimate:
    """Return the quantile `p` with its order-statistic interval (Conover, 1971; exact by the binomial law).

    It covers the true quantile with at least `confidence`, whatever the distribution. A bound outside of
    the sample is open, and `why` names the sample size that closes it.
    """
    ranks = interval_ranks(len(ordered), p, confidence)
    low, high = (None if rank is None else ordered[rank - 1] for rank in ranks)
    why = f"n<{least_size(p, confidence)}" if None in ranks else UNSET
    return Estimate(quantile(ordered, p), low, high, why)


@lru_cache(maxsize=4096)
def interval_ranks(n: int, p: float, confidence: float = CONFIDENCE) -> tuple[int | None, int | None]:
    """Return the ranks, from 1, of the values that bound the quantile `p` of `n` values; None if open.

    With B binomial(n, p), P(B < low) and P(B >= high) are at most (1 - confidence) / 2 each.
    """
    tail = (1 - confidence) / 2
    low, from_top = _lower_rank(n, p, tail), _lower_rank(n, 1 - p, tail)
    return low, n + 1 - from_top if from_top else None


def _lower_rank(n: int, p: float, tail: float) -> int | None:
    below = accumulate(_binomial(n, rank, p) for rank in range(n))
    return next((rank for rank, total in enumerate(below) if total > tail), n) or None


def _binomial(n: int, k: int, p: float) -> float:
    if p <= 0 or p >= 1:
        return float(k == (n if p >= 1 else 0))
    return math.exp(log_choose(n, k) + k * math.log(p) + (n - k) * math.log1p(-p))


def log_choose(n: int, k: int) -> float:
    """Return the logarithm of the number of ways to choose k of n."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def least_size(p: float, confidence: float = CONFIDENCE) -> int:
    """Return the size of the smallest sample whose interval of the quantile `p` is closed on both sides."""
    tail, rarer = (1 - confidence) / 2, min(p, 1 - p)
    return math.ceil(math.log(tail) / math.log1p(-rarer))


def fewest_for(p: float) -> int:
    """Return the size from which a sample's quantile `p` is not its maximum: 20 for p95, 100 for p99."""
    return 1 if p <= 0.5 else math.ceil(round(1 / (1 - p), 6))


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
