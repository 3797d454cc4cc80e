"""Two samples compared: by how much one lies higher than the other, and what may be said of it.

The shift is that of Hodges and Lehmann (1963), the median of all pairwise differences, with the interval that
belongs to the Wilcoxon-Mann-Whitney test (Lehmann, 1975). No normal distribution is assumed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from statistics import NormalDist
from typing import Literal

from smallest_cli.bench.stats.quantiles import CONFIDENCE, quantile

EXACT_SIZE = 20
SORTED_SIZE = 20_000
POWER = 0.8

Word = Literal["faster", "slower", "equivalent", "inconclusive"]


@dataclass(frozen=True, slots=True)
class Shift:
    """How much higher the second sample lies, in its unit; None for a bound that so few values do not
    give."""

    value: float
    low: float | None
    high: float | None


def shift(first: Sequence[float], second: Sequence[float], confidence: float = CONFIDENCE) -> Shift:
    """The Hodges-Lehmann shift from the first sample to the second, neither empty, with its interval."""
    first, second = sorted(first), sorted(second)
    count = len(first) * len(second)
    skipped = _critical(len(first), len(second), confidence)
    ranks = [(count + 1) // 2, count // 2 + 1]
    if skipped >= 1:
        ranks += [skipped, count + 1 - skipped]
    found = _differences(first, second, ranks)
    bounds = found[2:] if skipped >= 1 else [None, None]
    return Shift((found[0] + found[1]) / 2, bounds[0], bounds[1])


def _differences(first: Sequence[float], second: Sequence[float], ranks: Sequence[int]) -> list[float]:
    """The pairwise differences of those ranks, from 1; not all of them are ever held where they are many."""
    if len(first) * len(second) <= SORTED_SIZE:
        ordered = sorted(high - low for high in second for low in first)
        return [ordered[rank - 1] for rank in ranks]
    return [_select(first, second, rank) for rank in ranks]


def _select(first: Sequence[float], second: Sequence[float], rank: int) -> float:
    """The difference of that rank, by halving the range until only one difference is left in it."""
    low, high = second[0] - first[-1], second[-1] - first[0]
    while low < high:
        middle = low + (high - low) / 2
        if middle >= high:  # neighbours: halving would round up, and stay
            middle = low
        count, above, below = _count(first, second, middle)
        if count >= rank:
            high = below
        else:
            low = above
    return high


def _count(first: Sequence[float], second: Sequence[float], limit: float) -> tuple[int, float, float]:
    """How many differences are at most `limit`, the next one above it, and the last one not above it."""
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
    """How many differences lie outside the interval on each side, and one: its rank from either end."""
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
    """In how many orders of n and m values the Mann-Whitney statistic is 0, 1, 2, ... (Mann, Whitney,
    1947)."""
    counts = [1] + [0] * (n * m)
    for size in range(1, n + 1):
        for at in range(n * m, m + size - 1, -1):
            counts[at] -= counts[at - m - size]
        for at in range(size, n * m + 1):
            counts[at] += counts[at - size]
    return counts


@dataclass(frozen=True, slots=True)
class Comparison:
    """What may be said of a second sample beside a first. `effect` is the least change that matters, in their
    unit.

    `needed` is the size of each side that would probably decide it, None where it is decided or unknown.
    """

    word: Word
    shift: Shift
    effect: float
    needed: int | None = None


def compare(
    first: Sequence[float],
    second: Sequence[float],
    least_effect: float,
    confidence: float = CONFIDENCE,
    least: float = 0.0,
) -> Comparison:
    """Whether the second sample is faster (lower), slower, equivalent, or nothing of it can be said.

    `least_effect` is a share of the first sample's median; no change under `least`, in the samples' unit,
    matters either, since a share of a median of 0 is nothing. Different: the interval leaves 0 out.
    Equivalent: the interval of two one-sided tests (Schuirmann, 1987) lies within the least effect; that wins
    over different, since a change too small to matter is no news.
    """
    effect = max(abs(quantile(sorted(first), 0.5)) * least_effect, least)
    found = shift(first, second, confidence)
    if found.low is None or found.high is None:
        needed = _needed_where_open(sorted(first), sorted(second), effect, confidence)
        return Comparison("inconclusive", found, effect, needed)
    inner = shift(first, second, 2 * confidence - 1)
    if inner.low is not None and inner.high is not None and -effect < inner.low and inner.high < effect:
        return Comparison("equivalent", found, effect)
    if found.low > 0:
        return Comparison("slower", found, effect)
    if found.high < 0:
        return Comparison("faster", found, effect)
    sizes, width = (len(first), len(second)), found.high - found.low
    return Comparison("inconclusive", found, effect, _needed(sizes, width, confidence, effect, confidence))


def _needed(
    sizes: tuple[int, int], width: float, covered: float, effect: float, confidence: float
) -> int | None:
    """The size of each side that finds a shift of `effect` four times of five; it falls with the square of
    width.

    `width` is that of an interval which covers the shift with `covered`.
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
    """As `_needed`, from the range of all differences: the widest interval that so few values give."""
    sizes, width = (len(first), len(second)), second[-1] - first[0] - (second[0] - first[-1])
    covered = 1 - 2 / math.comb(sum(sizes), sizes[0])
    closed = next(n for n in count(1) if _critical(n, n, confidence) >= 1)
    return max(closed, _needed(sizes, width, covered, effect, confidence) or 0)


def rise(failed: int, n: int, failed_after: int, n_after: int) -> float:
    """The probability of so many failures in the second sample, or more, were both alike.

    Fisher's exact test, one-sided: of all failures together, the second sample's are a hypergeometric draw.
    """
    whole, bad = n + n_after, failed + failed_after
    most = min(bad, n_after)
    return min(1.0, math.fsum(_ways(whole, bad, n_after, k) for k in range(failed_after, most + 1)))


def _ways(whole: int, bad: int, drawn: int, k: int) -> float:
    if drawn - k > whole - bad:
        return 0.0
    return math.exp(_log_choose(bad, k) + _log_choose(whole - bad, drawn - k) - _log_choose(whole, drawn))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
