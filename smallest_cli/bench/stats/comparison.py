"""Compare two samples: the shift between them and whether it is significant.

The shift is that of Hodges and Lehmann (1963), the median of all pairwise differences, with the interval of
the Wilcoxon-Mann-Whitney test (Lehmann, 1975). No normal distribution is assumed. Trials of one run depend
on each other, e.g. by the load of the machine: `dependence` measures it, and widens the interval.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, pairwise
from statistics import NormalDist, fmean, variance
from typing import Literal

from smallest_cli.bench.schema import Estimate
from smallest_cli.bench.stats.quantiles import CONFIDENCE, log_choose, quantile

EXACT_SIZE = 20
SORTED_SIZE = 20_000
POWER = 0.8
FEWEST_IN_BLOCKS = 9  # fewer values do not give three blocks
MAX_CORRELATION = 0.98

Word = Literal["faster", "slower", "equivalent", "inconclusive"]


def shift(first: Sequence[float], second: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Return the Hodges-Lehmann shift from the first sample to the second with its interval."""
    first, second = sorted(first), sorted(second)
    count = len(first) * len(second)
    skipped = _critical(len(first), len(second), confidence)
    ranks = [(count + 1) // 2, count // 2 + 1]
    if skipped >= 1:
        ranks += [skipped, count + 1 - skipped]
    if count <= SORTED_SIZE:  # for more, not all differences are built
        ordered = sorted(high - low for high in second for low in first)
        found = [ordered[rank - 1] for rank in ranks]
    else:
        found = [_select(first, second, rank) for rank in ranks]
    bounds = found[2:] if skipped >= 1 else [None, None]
    return Estimate((found[0] + found[1]) / 2, bounds[0], bounds[1])


def _select(first: Sequence[float], second: Sequence[float], rank: int) -> float:
    """Return the difference of that rank, by bisection of the range of differences."""
    low, high = second[0] - first[-1], second[-1] - first[0]
    while low < high:
        middle = low + (high - low) / 2
        if middle >= high:  # adjacent floats: rounding up would not terminate
            middle = low
        count, above, below = _count(first, second, middle)
        if count >= rank:
            high = below
        else:
            low = above
    return high


def _count(first: Sequence[float], second: Sequence[float], limit: float) -> tuple[int, float, float]:
    """Return how many differences are at most `limit`, the next one above, and the last one not above."""
    count, at = 0, 0
    above, below = math.inf, -math.inf
    for low in first:
        while at < len(second) and second[at] - low <= limit:
            at += 1
        count += at
        if at < len(second):
            above = min(above, second[at] - low)
        if at:
            below = max(below, second[at - 1] - low)
    return count, above, below


def _critical(n: int, m: int, confidence: float) -> int:
    """Return the rank of the interval's bounds, counted from either end; below 1 if open."""
    tail = (1 - confidence) / 2
    if n <= EXACT_SIZE and m <= EXACT_SIZE:
        counts, limit, total = _rank_sums(n, m), tail * math.comb(n + m, n), 0
        for statistic, ways in enumerate(counts):
            total += ways
            if total > limit:
                return statistic
        return len(counts)
    spread = math.sqrt(n * m * (n + m + 1) / 12)
    return math.floor(n * m / 2 - NormalDist().inv_cdf(1 - tail) * spread)


@lru_cache(maxsize=64)
def _rank_sums(n: int, m: int) -> list[int]:
    """Return the number of orders of n and m values with Mann-Whitney statistic 0, 1, 2, ... (1947)."""
    counts = [1] + [0] * (n * m)
    for size in range(1, n + 1):
        for at in range(n * m, m + size - 1, -1):
            counts[at] -= counts[at - m - size]
        for at in range(size, n * m + 1):
            counts[at] += counts[at - size]
    return counts


def dependence(values: Sequence[float]) -> float:
    """Return the factor by which dependence of successive values raises the variance of their mean rank.

    The greater of two estimates, and at least 1: batch means (Law and Kelton, 1984) over blocks of the square
    root of the sample's size, which see a drift, and a first-order autoregressive process, for few values.
    Ranks, so that an outlier hides neither. `values` are in the order of measurement.
    """
    n, size = len(values), round(math.sqrt(len(values)))
    if n < FEWEST_IN_BLOCKS:
        return 1.0
    ordered = sorted(values)
    ranks = [bisect_left(ordered, value) + bisect_right(ordered, value) - n for value in values]
    spread = fmean(rank * rank for rank in ranks)
    if not spread:
        return 1.0
    blocks = [fmean(ranks[at : at + size]) for at in range(0, n - size + 1, size)]
    lagged = sum(before * after for before, after in pairwise(ranks)) / (n * spread)
    lagged = min(lagged + (1 + 3 * lagged) / n, MAX_CORRELATION)  # its bias in small samples (Kendall, 1954)
    return max(1.0, size * variance(blocks) / spread, (1 + lagged) / (1 - lagged))


@dataclass(frozen=True, slots=True)
class Comparison:
    """The comparison of two samples. `effect` is the smallest change that matters, in their unit.

    `needed` is the size of each sample that would likely give a verdict; None if there is one or unknown.
    """

    word: Word
    shift: Estimate  # second sample minus first
    effect: float
    needed: int | None = None


def compare(
    first: Sequence[float],
    second: Sequence[float],
    min_effect: float,
    confidence: float = CONFIDENCE,
    minimum: float = 0.0,
    *,
    noise: float = 0.0,
    ordered: bool = True,
) -> Comparison:
    """Return whether the second sample is faster (lower), slower, equivalent, or inconclusive.

    `min_effect` is a fraction of the first sample's median; a change below `minimum`, in the samples' unit,
    does not matter either, for medians of 0. Equivalent: the interval of two one-sided tests (Schuirmann,
    1987) is within the smallest change that matters. Faster and slower: the complete interval is beyond it,
    and beyond `noise`, the shift that the measurement itself may cause. `ordered`: the values are in the
    order of measurement, so that their dependence is known.
    """
    effect = max(abs(quantile(sorted(first), 0.5)) * min_effect, minimum)
    found = shift(first, second, confidence)
    if found.lo is None or found.hi is None:
        needed = _needed_where_open(sorted(first), sorted(second), effect, confidence)
        return Comparison("inconclusive", found, effect, needed)
    factor = _width_factor(first, second, confidence) if ordered else 1.0
    low, high = _widened(found, factor)
    found = Estimate(found.v, low, high)
    inner = _widened(shift(first, second, 2 * confidence - 1), factor)
    if -effect <= inner[0] and inner[1] <= effect:  # equal, too, for samples of one value
        return Comparison("equivalent", found, effect)
    if low > effect or high < -effect:
        word: Word = "slower" if low > noise else "faster" if high < -noise else "inconclusive"
        return Comparison(word, found, effect)  # more trials do not tell a shift from the noise
    sizes, width = (len(first), len(second)), high - low
    return Comparison("inconclusive", found, effect, _needed(sizes, width, confidence, effect, confidence))


def _width_factor(first: Sequence[float], second: Sequence[float], confidence: float) -> float:
    """Return the factor by which dependence within each sample widens the interval of their shift."""
    n, m = len(first), len(second)
    own, other = dependence(first), dependence(second)
    critical, freedom = NormalDist().inv_cdf((1 + confidence) / 2), max(1.0, n / own + m / other - 2)
    # The quantile of Student's t by that of the normal distribution: dependent samples are worth few values.
    square = critical**2
    student = 1 + (square + 1) / (4 * freedom) + (5 * square**2 + 16 * square + 3) / (96 * freedom**2)
    return student * math.sqrt((own * m + other * n) / (n + m))


def _widened(found: Estimate, factor: float) -> tuple[float, float]:
    """Return the bounds of an interval, farther from its centre by a factor; open ones are infinite."""
    low, high = -math.inf if found.lo is None else found.lo, math.inf if found.hi is None else found.hi
    return found.v + (low - found.v) * factor, found.v + (high - found.v) * factor


def _needed(
    sizes: tuple[int, int], width: float, covered: float, effect: float, confidence: float
) -> int | None:
    """Return the size of each sample that finds a shift of twice `effect` with a power of 80 %.

    Equal samples of that size are found equivalent about as often. `width` is that of an interval that covers
    the shift with probability `covered`; it falls with the square root of the size.
    """
    normal = NormalDist()
    if not effect or not covered > 0:
        return None
    critical, reached = (normal.inv_cdf((1 + share) / 2) for share in (confidence, covered))
    n, m = sizes
    ratio = width / 2 / effect * (critical + normal.inv_cdf(POWER)) / reached
    return max(math.ceil(ratio**2 * 2 * n * m / (n + m)), min(n, m) + 1)


def _needed_where_open(
    first: Sequence[float], second: Sequence[float], effect: float, confidence: float
) -> int:
    """Return the same for an open interval, from the range of all differences in place of its width."""
    sizes, width = (len(first), len(second)), second[-1] - first[0] - (second[0] - first[-1])
    covered = 1 - 2 / math.comb(sum(sizes), sizes[0])
    closed = next(n for n in count(1) if _critical(n, n, confidence) >= 1)
    return max(closed, _needed(sizes, width, covered, effect, confidence) or 0)


def rise(failed: int, n: int, failed_after: int, n_after: int) -> float:
    """Return the p-value of `failed_after` or more failures in the second sample if error rates are equal.

    One-sided Fisher's exact test: failures in the second sample follow a hypergeometric distribution.
    """
    total, bad = n + n_after, failed + failed_after
    most = min(bad, n_after)
    least = max(failed_after, n_after - (total - bad))
    draws = log_choose(total, n_after)
    ways = (log_choose(bad, k) + log_choose(total - bad, n_after - k) for k in range(least, most + 1))
    return min(1.0, math.fsum(math.exp(each - draws) for each in ways))
