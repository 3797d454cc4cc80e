"""Distribution of a metric over many trials: all values, or a compact, mergeable histogram.

Buckets keep three significant digits, as in HdrHistogram: quantiles of merged histograms differ from those
of the raw values by 0.05 % at most. Quantiles are never averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, TypeVar

from msgspec import UNSET, Struct
from msgspec.structs import replace

from smallest_cli.bench.metrics import METRICS, SCALES
from smallest_cli.bench.schema import Delays, Estimate, MetricSummary
from smallest_cli.bench.stats.quantiles import estimate, median_deviation, outliers, quantile

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
DEPENDENT = "values of one trial depend on each other"
GIVEN_UP = "trials were given up before"
DEPENDENT_METRICS = frozenset({"gap"})
DIGITS, BUCKET_BITS = 3, 11  # 2**11 buckets for each power of two: half a bucket is 0.05 % at most
MAX_VALUES = 100_000
"""Maximum values taken from buckets, evenly by rank. For longer runs, intervals are too wide, never too
narrow."""
STEPS = {"ms": 1_000.0, "s": 1_000.0, "x": 1e-6, "count": 1.0, "dBFS": 1e-3}
"""Minimum bucket width by unit, in the units of `derive`: a microsecond, a millionth, a thousandth of a
decibel."""

Key = TypeVar("Key")


def add_counts(own: dict[Key, int], other: Mapping[Key, int]) -> None:
    """Add the counts of `other` to `own`."""
    for key, count in other.items():
        own[key] = own.get(key, 0) + count


class Distribution(Struct):
    """Values with their exact minimum, maximum and sum."""

    step: float = 0.0  # minimum bucket width; 0 keeps every value exactly
    n: int = 0
    low: float = inf
    high: float = -inf
    total: float = 0.0
    counts: dict[int | float, int] = {}  # by value, or by the lower end of a bucket, in steps

    def add(self, value: float) -> None:
        """Record one value."""
        key = self._bucket(value) if self.step else value
        self.counts[key] = self.counts.get(key, 0) + 1
        self.n, self.total = self.n + 1, self.total + value
        self.low, self.high = min(self.low, value), max(self.high, value)

    def merge(self, other: Distribution) -> None:
        """Add the values of another distribution with the same step."""
        add_counts(self.counts, other.counts)
        self.n, self.total = self.n + other.n, self.total + other.total
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    def values(self) -> list[float]:
        """Return values in ascending order: all, or at most `MAX_VALUES` bucket midpoints."""
        wanted = min(self.n, MAX_VALUES) if self.step else self.n
        found: list[float] = []
        seen = 0
        for key, count in sorted(self.counts.items()):
            seen += count
            found += [self._middle(int(key)) if self.step else key] * (seen * wanted // self.n - len(found))
        return found

    def floor(self) -> float:
        """Return the lower end of the minimum's bucket; infinity if there are no values."""
        return self._bucket(self.low) * self.step if self.n and self.step else self.low

    def quantiles(self, *shares: float) -> list[float]:
        """Return nearest-rank quantiles. Must not be empty."""
        values = self.values()
        return [quantile(values, share) for share in shares]

    def as_delays(self) -> Delays | None:
        """Summarise nanoseconds in ms; None if there are none."""
        if not self.n:
            return None
        p50, p99 = self.quantiles(0.5, 0.99)
        return Delays(p50 / 1e6, p99 / 1e6, self.high / 1e6, self.n)

    def _bucket(self, value: float) -> int:
        steps = round(value / self.step)
        shift = max(0, steps.bit_length() - BUCKET_BITS)
        return steps >> shift << shift

    def _middle(self, bucket: int) -> float:
        width = 1 << max(0, bucket.bit_length() - BUCKET_BITS)
        return min(max((bucket + (width - 1) / 2) * self.step, self.low), self.high)


def describe(metric: str, values: Sequence[float], *, bounded_from: float = inf) -> MetricSummary | None:
    """Summarise values in nanoseconds (or ratios) in the metric's own unit; None if there are none.

    Values from `bounded_from` on are lower bounds (censored). `at_least` of the result names the statistics
    that are lower bounds too.
    """
    if not values:
        return None
    scale, dependent = SCALES[METRICS[metric].unit], metric in DEPENDENT_METRICS
    ordered = sorted(value / scale for value in values)
    bound = bounded_from / scale
    outlying = set() if dependent else set(outliers(ordered))
    kept = [value for index, value in enumerate(ordered) if index not in outlying]
    quantiles = {name: _quantile(ordered, p, bound, dependent=dependent) for name, p in QUANTILES.items()}
    at_least = []
    if bounded_from < inf:
        statistics = {"min": ordered[0], "max": ordered[-1]} | {name: q.v for name, q in quantiles.items()}
        at_least = ["mean", *(name for name, value in statistics.items() if value >= bound)]
    fields: dict[str, Any] = {name.replace(".", "_"): found for name, found in quantiles.items()}
    return MetricSummary(
        unit=METRICS[metric].unit,
        n=len(ordered),
        mean=sum(ordered) / len(ordered),
        min=ordered[0],
        max=ordered[-1],
        mad=median_deviation(ordered),
        outliers=len(outlying),
        mean_without_outliers=sum(kept) / len(kept),
        at_least=at_least or UNSET,
        **fields,
    )


def _quantile(ordered: Sequence[float], p: float, bound: float, *, dependent: bool) -> Estimate:
    if dependent:
        return Estimate(quantile(ordered, p), None, None, DEPENDENT)
    found = estimate(ordered, p)
    if found.hi is not None and found.hi >= bound:
        return Estimate(found.v, found.lo, None, GIVEN_UP)
    return found


def summarise(metric: str, found: Distribution, bounded_from: float = inf) -> MetricSummary | None:
    """Summarise a distribution as `describe` does; count, mean, minimum and maximum are exact."""
    summary = describe(metric, found.values(), bounded_from=bounded_from)
    if summary is None or not found.step:
        return summary
    scale = SCALES[summary.unit]
    return replace(
        summary,
        n=found.n,
        mean=found.total / found.n / scale,
        min=found.low / scale,
        max=found.high / scale,
        outliers=round(summary.outliers * found.n / summary.n),
        digits=DIGITS,
    )
