"""Format the figures, verdicts and conditions of a result as text that all reports share."""

from __future__ import annotations

from smallest_cli.bench.compare import ErrorRow, Row, RunComparison
from smallest_cli.bench.distribution import DEPENDENT, GIVEN_UP
from smallest_cli.bench.schema import ArmResult, Estimate, MetricSummary, Result, Run, ThresholdResult
from smallest_cli.errors import plural

VERDICT_TEXTS = {
    "ok": "measurement overhead is negligible",
    "suspect": "measurement overhead may be significant",
    "invalid": "measurement overhead exceeds the limit",
}
NOT_STREAMED = "not streamed: the reply is complete before it is sent"
METRIC_COLUMNS = ("p50", "95 % CI", "p95", "p99", "max")
OVERVIEW_COLUMNS = {
    "closed": (
        ("ttfb", "p50", "TTFB p50"),
        ("ttfb", "p95", "p95"),
        ("ttfb", "p99", "p99"),
        ("ttfa", "p50", "TTFA p50"),
        ("min_safe_buffer", "p95", "min. buffer p95"),
    ),
    "open": (
        ("ttfb_e2e", "p50", "e2e p50"),
        ("ttfb_e2e", "p95", "p95"),
        ("ttfb_e2e", "p99", "p99"),
        ("ttfb", "p50", "TTFB p50"),
        ("min_safe_buffer", "p95", "min. buffer p95"),
    ),
}
"""Columns of the overview by load model: metric, quantile, title. The first is the time that a client waits:
in an open loop it counts from the scheduled time, since a time from sending omits queueing."""


def figure(value: float | None, unit: str = "ms") -> str:
    """Format a number with three or four significant digits; a dash for None."""
    if value is None:
        return "-"
    if unit in ("count", "dBFS"):
        return f"{value:.0f}" if unit == "count" and value == int(value) else f"{value:.1f}"
    if unit != "ms":
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"


def overview_cell(arm: ArmResult, metric: str, quantile: str) -> str:
    """Format one cell of the overview; a dash where the arm lacks the metric."""
    found = arm.metrics.get(metric)
    return figure(found.quantile(quantile).v) if found else "-"


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
    if arm.first_is_outlier:
        found.append("the first measured trial is an outlier: use a longer --warmup")
    if any(metric.at_least for metric in arm.metrics.values()):
        found.append("*_censored counts trials that timed out with the time they waited, marked >=")
    if failed := arm.checks_failed:
        found.append(f"{plural(failed, 'check')} failed, not in the figures: {arm.check_message}")
    if count := arm.reopened:
        found.append(f"{count} trial{'s' * (count > 1)} had to reopen a warm connection")
    return found


def verdict_text(result: Result) -> str:
    """Explain the verdict, which is about the measurement, not the service."""
    text = VERDICT_TEXTS[result.run.calibration.verdict]
    return text if any(arm.ok for arm in result.arms) else f"{text}, but no trial succeeded"


def error_counts(arm: ArmResult) -> str:
    """Return the number of failed trials by error class."""
    return ", ".join(f"{count} {name}" for name, count in arm.errors.items()) or "none"


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
    outcome = "pass" if each.passed else "FAIL"
    if each.ci and not each.confident:
        bound = each.ci[each.passed == ("<" in each.expr)]
        doubt = "CI spans the limit"
        if bound is None:
            doubt = f"open CI: {'trials timed out' if each.why == GIVEN_UP else 'too few trials'}"
        outcome += f" ({doubt})"
    value = "no such figure"
    if each.value is not None:
        unit = f" {each.unit}" if each.unit not in ("share", "x", "count") else ""
        value = f"{100 * each.value:.4g} %" if each.unit == "share" else figure(each.value, each.unit) + unit
        value = f"{'at least ' * each.at_least}{value}"
    return f"{each.expr}  {each.arm or 'no arm'}  {value}: {outcome}"


def comparison_text(row: Row) -> str:
    """Format the comparison of one metric of one arm."""
    unit = "" if row.unit == "x" else f" {row.unit}"
    by = f"{figure(row.shift_ms.v, row.unit)}{unit} {interval(row.shift_ms, row.unit)}"
    more = f"; about {plural(row.needed_n, 'trial')} per run would decide" if row.needed_n else ""
    word: str = row.verdict
    if row.unit != "ms":
        word = {"slower": "higher", "faster": "lower"}.get(word, word)
    return f"{word}: shift {by}, significant from {figure(row.matters_from_ms, row.unit)}{unit}{more}"


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


def provenance(run: Run) -> str:
    """Return the provenance of a result in one line."""
    request = run.request
    return (
        f"{run.target.base_url}  voice {request['voice']}  model {request['model']}  "
        f"{request['sample_rate']} Hz  seed {run.seed}  {run.started_utc}"
    )
