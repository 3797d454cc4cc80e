"""Thresholds (`--slo`) such as `ttfb.p95<300ms`: parse them and evaluate them on results."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, cast

from smallest_cli.bench.distribution import DEPENDENT, QUANTILES
from smallest_cli.bench.metrics import CENSORED, METRICS, OF_COMPLETE_AUDIO, OPTIONAL, has_metric
from smallest_cli.bench.schema import Arm, ArmResult, Estimate, MetricSummary, ThresholdResult
from smallest_cli.bench.stats.quantiles import fewest_for
from smallest_cli.errors import UsageError
from smallest_cli.security import printable

_OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_UNITS = {"ms": ("ms", 1.0), "s": ("ms", 1000.0), "%": ("share", 0.01), "dBFS": ("dBFS", 1.0), "": ("", 1.0)}
_STATISTICS = (*QUANTILES, "mean", "min", "max")
_FORM = re.compile(
    r"(?:(?P<arm>[A-Za-z0-9_.+/-]+):)?(?P<what>error_rate|smooth@(?P<buffer>[0-9.]+)|(?P<metric>[a-z0-9_]+)\."
    r"(?P<statistic>[a-z0-9.]+))\s*(?P<sign><=|>=|<|>)\s*(?P<limit>-?[0-9]+(?:\.[0-9]+)?|-?\.[0-9]+)"
    r"\s*(?P<unit>ms|s|%|dBFS|)"
)
_RANGES = {"share": (0.0, 1.0), "check": (-math.inf, math.inf)} | dict.fromkeys(
    ("rms", "dc"), (-math.inf, 0.0)
)
"""Ranges other than 0 to infinity, by metric or unit."""
SMOOTH_METRIC = "min_safe_buffer"  # arms with this metric have a `smooth@` figure


@dataclass(frozen=True, slots=True)
class Threshold:
    """A parsed threshold. `arm` has labels that select arms, "" for all of them; `limit` is in `unit`."""

    text: str
    arm: str
    what: str
    metric: str | None
    statistic: str | None
    buffer_ms: float | None
    sign: str
    limit: float
    unit: str

    def applies_to(self, arm: Arm) -> bool:
        """Whether it selects the arm, and the arm can have the figure."""
        selected = set(filter(None, self.arm.split("/"))) <= arm.labels
        metric = SMOOTH_METRIC if self.buffer_ms is not None else self.metric
        return selected and (metric is None or has_metric(arm, metric))

    def holds(self, value: float) -> bool:
        """Whether a value meets the limit."""
        return bool(_OPERATORS[self.sign](value, self.limit))


def parse_threshold(text: str) -> Threshold:
    """Parse `[ARM:]METRIC.STATISTIC<LIMIT`, `error_rate<1%` or `smooth@100>=0.99`. Raises UsageError."""
    shown = printable(text, 60)
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"invalid threshold: {shown}", hint="use e.g. ttfb.p95<300ms or error_rate<1%")
    metric, statistic = match["metric"], match["statistic"]
    if metric is not None and metric not in METRICS:
        hint = f"one of {', '.join(METRICS)}, error_rate, smooth@MS"
        raise UsageError(f"unknown metric: {metric}", hint=hint)
    if statistic is not None and statistic not in _STATISTICS:
        raise UsageError(f"unknown statistic: {statistic}", hint=f"one of {', '.join(_STATISTICS)}")
    kind, scale = _UNITS[match["unit"]]
    unit = METRICS[metric].unit if metric else "share"
    if kind and kind != ("ms" if unit == "s" else unit):
        raise UsageError(f"{shown}: {match['what']} is not in {match['unit']}")
    if unit == "s" and kind:
        scale /= 1000
    try:
        buffer_ms = float(match["buffer"]) if match["buffer"] else None
    except ValueError:
        raise UsageError(f"{shown}: smooth@ takes milliseconds") from None
    arm, what, sign, limit = match["arm"] or "", match["what"], match["sign"], float(match["limit"]) * scale
    threshold = Threshold(text.strip(), arm, what, metric, statistic, buffer_ms, sign, limit, unit)
    _check_limit(threshold, match, shown)
    return threshold


def _check_limit(threshold: Threshold, match: re.Match[str], shown: str) -> None:
    """Raise UsageError for a limit that every run, or no run, would meet."""
    limit, share = threshold.limit, threshold.unit == "share"
    # A share of 1 or more without % is probably a percentage.
    if share and not match["unit"] and (limit > 1 or (limit == 1 and threshold.sign == "<")):
        meant = f"{threshold.what}{threshold.sign}{match['limit']}%"
        raise UsageError(f"{shown} is {limit:.0%}", hint=f"a share is at most 1; {meant}?")
    lowest, highest = _RANGES.get(threshold.metric or threshold.unit, (0.0, math.inf))
    at_least, at_most = threshold.holds(lowest), threshold.holds(highest)
    if at_least == at_most:
        raise UsageError(f"{shown} {'always' if at_least else 'never'} holds")


def check_thresholds(
    texts: Sequence[str], arms: Sequence[Arm], buffers_ms: Sequence[float], options: Collection[str] = ()
) -> None:
    """Raise UsageError for a threshold without a figure in a run of those arms, prebuffers and options."""
    for text in texts:
        threshold = parse_threshold(text)
        needed = OPTIONAL.get(threshold.metric or "")
        if needed and needed not in options:
            raise UsageError(f"{printable(text, 60)}: only a run with {needed} has such a figure")
        if threshold.metric in OF_COMPLETE_AUDIO and "--cancel-after" in options:
            raise UsageError(f"{printable(text, 60)}: a run with --cancel-after has no such figure")
        if threshold.buffer_ms is not None and threshold.buffer_ms not in buffers_ms:
            known = ",".join(f"{ms:g}" for ms in buffers_ms)
            unknown = f"{threshold.buffer_ms:g} is not among the prebuffers {known}"
            raise UsageError(f"{printable(text, 60)}: {unknown}", hint="add it to --buffer")
        if not any(map(threshold.applies_to, arms)):
            message = f"{printable(text, 60)}: no arm of this run has such a figure"
            raise UsageError(message, hint=f"its arms: {', '.join(arm.id for arm in arms)}")


def evaluate(text: str, arms: Sequence[ArmResult]) -> list[ThresholdResult]:
    """Evaluate a threshold on every arm it applies to. An arm without the figure fails.

    The estimate decides, except that it is inconclusive where the trials are too few: the quantile would be
    the maximum (p95 of less than 20 trials, p99 of less than 100), or its interval is open towards the limit
    and some trial is beyond it.
    """
    threshold = parse_threshold(text)
    selected = [arm for arm in arms if threshold.applies_to(arm)]
    if not selected:
        return [_result(threshold, threshold.arm, None, None)]
    return [_result(threshold, arm.id, *_figure(threshold, arm)) for arm in selected]


def _figure(threshold: Threshold, arm: ArmResult) -> tuple[Estimate | None, MetricSummary | None]:
    """Return an arm's figure, and the summary that it is from."""
    if threshold.what == "error_rate":
        return Estimate(arm.error_rate, None, None), None
    if threshold.buffer_ms is not None:
        shares = [row.smooth for row in arm.player if row.buffer_ms == threshold.buffer_ms]
        return (Estimate(shares[0], None, None) if shares else None), None
    metric, statistic = threshold.metric or "", threshold.statistic or ""
    # Without a timeout a censored metric equals the plain one.
    summary = arm.metrics.get(metric) or arm.metrics.get(CENSORED.get(metric, ""))
    if summary is None:
        return None, None
    found = getattr(summary, statistic.replace(".", "_"))
    return (found if isinstance(found, Estimate) else Estimate(found, None, None)), summary


def _result(
    threshold: Threshold, arm: str, figure: Estimate | None, summary: MetricSummary | None
) -> ThresholdResult:
    value, low, high = (figure.v, figure.lo, figure.hi) if figure else (None, None, None)
    below, statistic = threshold.sign.startswith("<"), threshold.statistic or ""
    at_least = summary is not None and summary.is_bound(statistic)
    # A lower bound below the limit does not show that the true value is.
    met = value is not None and not (at_least and below) and threshold.holds(value)
    nearest = high if met == below else low
    why = (figure.why or None) if figure else None
    # Whether the bound nearest to the limit is on the same side as the value.
    confident = nearest is not None and threshold.holds(nearest) == met
    inconclusive = False
    if met and not confident and summary is not None and statistic in QUANTILES:
        fewest = fewest_for(QUANTILES[statistic])
        if summary.n < fewest:
            inconclusive, why = True, f"n<{fewest}"
        elif why not in (None, DEPENDENT) and nearest is None:
            # An open interval does not reach the limit if no trial does.
            farthest, bounded = (summary.max, summary.is_bound("max")) if below else (summary.min, False)
            inconclusive = bounded or not threshold.holds(farthest)
    return ThresholdResult(
        expr=threshold.text,
        arm=arm,
        value=value,
        unit=cast(Any, threshold.unit),
        # Dependent values (gaps) have no interval.
        ci=None if low is None and high is None else (low, high),
        passed=met and not inconclusive,
        inconclusive=inconclusive,
        confident=confident,
        at_least=at_least,
        why=why,
    )
