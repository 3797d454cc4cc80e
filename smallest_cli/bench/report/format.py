"""Format the figures, verdicts and conditions of a result as text that all reports share."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from smallest_cli.bench.compare import ErrorRow, Row, RunComparison
from smallest_cli.bench.distribution import DEPENDENT, GIVEN_UP
from smallest_cli.bench.schema import ArmResult, Delays, Estimate, MetricSummary, Result, Run, ThresholdResult
from smallest_cli.errors import plural

MAX_NAMED = 3  # more arms are counted

VERDICT_TEXTS = {
    "ok": "measurement overhead is negligible",
    "suspect": "measurement overhead may be significant",
    "invalid": "measurement overhead exceeds the limit",
}
NOT_STREAMED = "not streamed: the reply is complete before it is sent"
METRIC_COLUMNS = ("p50", "95 % CI", "p95", "p99", "max")
OVERVIEW_COLUMNS = {
    "closed": (
        ("ttfb", "p50", "TTFB p50"), ("ttfb", "p95", "p95"), ("ttfb", "p99", "p99"),
        ("ttfa", "p50", "TTFA p50"), ("min_safe_buffer", "p95", "min. buffer"), ("rtf", "p50", "RTF"),
    ),
    "open": (
        ("ttfb_e2e", "p50", "e2e p50"), ("ttfb_e2e", "p95", "p95"), ("ttfb_e2e", "p99", "p99"),
        ("ttfb", "p50", "TTFB p50"), ("min_safe_buffer", "p95", "min. buffer"), ("rtf", "p50", "RTF"),
    ),
}  # fmt: skip
"""Columns of the overview by load model: metric, quantile, title. The first is the time that a client waits:
in an open loop it counts from the scheduled time, since a time from sending omits queueing. `min. buffer` is
what 95 % of trials play without a stall."""
INTERVAL = "95 % CI"
OPTIONAL_COLUMNS = ("RTF", "min. buffer", "TTFA p50", INTERVAL, "p99", "p95", "ok")
"""What a narrow overview leaves out, in this order."""


def overview(result: Result) -> dict[str, list[str]]:
    """Return the columns of the overview by title: the arms, then `cells` formatted for each."""
    (metric, quantile, first), *others = OVERVIEW_COLUMNS[result.run.load.model]
    arms = result.arms
    columns = {"arm": [str(arm.id) for arm in arms], "ok": [f"{arm.ok}/{arm.n}" for arm in arms]}
    columns[first] = [overview_cell(arm, metric, quantile) for arm in arms]
    found = [arm.metrics.get(metric) for arm in arms]
    columns[INTERVAL] = [interval(each.quantile(quantile)) if each else "-" for each in found]
    return columns | {title: [overview_cell(arm, name, q) for arm in arms] for name, q, title in others}


def figure(value: float | None, unit: str = "ms") -> str:
    """Format a number with three or four significant digits; a dash for None."""
    if value is None:
        return "-"
    if unit != "ms":
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"


def plain(value: float) -> str:
    """Format a number of an axis: two significant digits or all of its integer part, without an exponent."""
    if value >= 10:
        return f"{value:.0f}"
    digits = max(0, 1 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:.0f}"


def overview_cell(arm: ArmResult, metric: str, quantile: str) -> str:
    """Format one cell of the overview; a dash where the arm lacks the metric."""
    found = arm.metrics.get(metric)
    return figure(found.quantile(quantile).v, found.unit) if found else "-"


def metric_cells(found: MetricSummary) -> list[str]:
    """Format a metric under `METRIC_COLUMNS`."""
    values = {"p50": found.p50.v, "p95": found.p95.v, "p99": found.p99.v, "max": found.max}
    p50, *others = (f"{'>=' * found.is_bound(name)}{figure(v, found.unit)}" for name, v in values.items())
    return [p50, interval(found.p50, found.unit), *others]


def interval(found: Estimate, unit: str = "ms") -> str:
    """Format a confidence interval; `?` for an open bound, a dash for no interval."""
    if found.why == DEPENDENT:
        return "-"
    return "[{}, {}]".format(
        *("?" if bound is None else figure(bound, unit) for bound in (found.lo, found.hi))
    )


def player_cells(arm: ArmResult) -> list[tuple[str, str, str, str, str]]:
    """Format the simulated player: prebuffer, share without a stall, TTFA p50, stalls, stalled p95."""
    return [
        (
            f"{row.buffer_ms:g} ms",
            f"{row.smooth:.1%}",
            f"{figure(row.ttfa_p50)} ms",
            f"{row.stalls_mean:.1f}",
            f"{figure(row.stall_total_p95)} ms",
        )
        for row in arm.player
    ]


def definition(run: Run, metric: str, arrow: str = "->") -> str:
    """Return the start and stop events of a metric."""
    found = run.defs.metrics[metric]
    return f" {arrow} ".join(part for part in (found.starts, found.stops) if part)


def notes(arm: ArmResult) -> list[str]:
    """Return the caveats on the figures of an arm."""
    ttfb, found = arm.metrics.get("ttfb"), []
    if ttfb is not None:
        open_ended = {name: ttfb.quantile(name).why or "" for name in ("p50", "p95", "p99")}
        needed = [f"{name} needs n>={why[2:]}" for name, why in open_ended.items() if why.startswith("n<")]
        found += [f"open CI (?): {', '.join(needed)}"] if needed else []
    found += [
        f"{name} has no interval: {DEPENDENT}"
        for name, metric in arm.metrics.items()
        if metric.p50.why == DEPENDENT
    ]
    if ttfb is not None and (count := ttfb.outliers):
        found.append(
            f"{count} outlier{'s' * (count > 1)} in ttfb, not dropped: mean {figure(ttfb.mean)} ms, "
            f"{figure(ttfb.mean_without_outliers)} ms without"
        )
    if any(metric.at_least for metric in arm.metrics.values()):
        found.append("*_censored counts trials that timed out with the time they waited, marked >=")
    return found + warnings(arm)


def warnings(arm: ArmResult) -> list[str]:
    """Return the notes of an arm that every report shows: what was not measured as planned."""
    found = []
    if arm.first_is_outlier:
        found.append("the first measured trial is an outlier: use a longer --warmup")
    if arm.reopened:
        found.append(f"{plural(arm.reopened, 'trial')} had to reopen a warm connection")
    return found


def verdict_text(result: Result) -> str:
    """Explain the verdict, which is about the measurement, not the service."""
    text = VERDICT_TEXTS[result.run.calibration.verdict]
    return text if any(arm.ok for arm in result.arms) else f"{text}, but no trial succeeded"


def error_counts(*arms: ArmResult) -> str:
    """Return the number of failed trials of the arms by error class."""
    errors = sum((Counter(arm.errors) for arm in arms), Counter[str]())
    return ", ".join(f"{count} {name}" for name, count in errors.items()) or "none"


def warmups_text(result: Result) -> str:
    """Return the number of warm-ups, and of those that failed by error class."""
    total, errors = result.warmups.n, result.warmups.errors
    if not errors:
        return plural(total, "warm-up")
    failed = ", ".join(f"{count} {name}" for name, count in sorted(errors.items()))
    return f"warm-ups: {sum(errors.values())} of {total} failed ({failed})"


def all_warnings(result: Result) -> list[str]:
    """Return the warnings of all arms, each once with its arms."""
    arms: dict[str, list[str]] = {}
    for arm in result.arms:
        for warning in warnings(arm):
            arms.setdefault(warning, []).append(arm.id)
    return [f"{_named(names, len(result.arms))}: {warning}" for warning, names in arms.items()]


def failures(result: Result) -> list[tuple[int, str, str, str]]:
    """Return the kinds of failed trials, most frequent first: count, class, arms, and the first message."""
    kinds: dict[tuple[str, str], dict[str, int]] = {}
    for arm in result.arms:
        for name, count in arm.errors.items():
            kinds.setdefault((name, arm.messages.get(name, "")), {})[arm.id] = count
    found = [
        (sum(arms.values()), name, _named(list(arms), len(result.arms)), message)
        for (name, message), arms in kinds.items()
    ]
    return sorted(found, key=lambda kind: -kind[0])


def _named(arms: Sequence[str], of: int) -> str:
    """Name up to `MAX_NAMED` arms, or count them."""
    return ", ".join(arms) if len(arms) <= MAX_NAMED else f"{len(arms)} of {of} arms"


def load_text(run: Run) -> str:
    """Describe the load and its limitations, and whether the run is incomplete."""
    load = run.load
    short = ", interrupted" if run.interrupted else "" if run.complete else ", incomplete"
    if run.cut_short:
        short = f", ended early by {run.cut_short}"
    if load.model == "open":
        return f"open loop, {load.rate:g}/s {load.arrival}, at most {load.concurrency} in flight{short}"
    by = f", by {load.engine}" if load.engine else ""
    return (
        f"closed loop, {load.concurrency} in flight{by}{short}: each waits for a reply before the next "
        "request, so it understates the waits of independent callers"
    )


def threshold_text(each: ThresholdResult) -> str:
    """Format a threshold, its figure, and pass or FAIL."""
    value, doubt = threshold_cells(each)
    return f"{each.expr}  {each.arm or 'no arm'}  {value}: {'pass' if each.passed else 'FAIL'}{doubt}"


def threshold_cells(each: ThresholdResult) -> tuple[str, str]:
    """Format the figure, and why it is in doubt on which side of the limit it is, "" if it is not."""
    value, doubt = "no such figure", ""
    if each.value is not None:
        unit = f" {each.unit}" if each.unit in ("ms", "s") else ""
        value = f"{100 * each.value:.4g} %" if each.unit == "share" else figure(each.value, each.unit) + unit
        value = f"{'at least ' * each.at_least}{value}"
    if each.ci and not each.confident:
        doubt = " (CI spans the limit)"
        if each.ci[each.passed == ("<" in each.expr)] is None:
            doubt = f" (open CI: {'trials timed out' if each.why == GIVEN_UP else 'too few trials'})"
    return value, doubt


def thresholds(result: Result) -> Iterator[tuple[str, bool]]:
    """Yield one line for each threshold, and whether every arm met it.

    The worst arms that missed it are listed with their figures; if none did, the one that came closest.
    """
    for text in dict.fromkeys(each.expr for each in result.slo):
        arms = [each for each in result.slo if each.expr == text]
        arms.sort(key=lambda each: (each.passed, (each.value or 0.0) * (-1 if "<" in each.expr else 1)))
        missed = sum(not each.passed for each in arms)
        if len(arms) == 1:
            yield threshold_text(arms[0]), not missed
            continue
        listed = [
            f"{each.arm} {''.join(threshold_cells(each))}" for each in arms[: min(missed, MAX_NAMED) or 1]
        ]
        outcome = f"FAIL in {missed} of {len(arms)} arms" if missed else f"pass in {len(arms)} arms"
        yield f"{text}  {outcome}: {', '.join(listed)}{', ...' * (missed > MAX_NAMED)}", not missed


def comparison_text(row: Row) -> str:
    """Format the comparison of one metric of one arm."""
    by = f"{figure(row.shift_ms.v)} ms {interval(row.shift_ms)}"
    more = f"; about {plural(row.needed_n, 'trial')} per run would decide" if row.needed_n else ""
    return f"{row.verdict}: shift {by}, significant from {figure(row.matters_from_ms)} ms{more}"


def error_rate_text(row: ErrorRow) -> str:
    """Format the comparison of the error rates of one arm."""
    counts = zip(row.failed, row.n, row.error_rate, strict=True)
    before, after = (f"{failed} of {n} ({rate:.1%})" for failed, n, rate in counts)
    change = "no significant difference in" if row.verdict == "unclear" else row.verdict
    return f"{change} failures: {before} in A, {after} in B"


def overall_text(compared: RunComparison) -> str:
    """Format the overall verdict, with reasons other than latency."""
    why = []
    if any(row.verdict == "more" for row in compared.errors):
        why.append("more trials fail in B")
    if any(each.missing_in == "B" for each in compared.not_compared):
        why.append("B lacks figures that A has")
    why += [f"every trial of {run} failed" for run in compared.failed]
    return compared.verdict + (f": {', '.join(why)}" if why else "")


def delays_text(delays: Delays | None) -> str:
    """Summarise delays in ms."""
    if delays is None:
        return "not measured"
    return f"p50 {figure(delays.p50)} ms, p99 {figure(delays.p99)} ms, n {delays.n}"


def provenance(run: Run) -> str:
    """Return the provenance of a result in one line."""
    request = run.request
    return (
        f"{run.target.base_url}  voice {request['voice']}  model {request['model']}  "
        f"{request['sample_rate']} Hz  seed {run.seed}  {run.started_utc}"
    )
