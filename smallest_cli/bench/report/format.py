"""Format the figures, verdicts and conditions of a result as text that all reports share."""

from __future__ import annotations

from smallest_cli.bench.compare import ErrorRow, NotCompared, Row, RunComparison
from smallest_cli.bench.distribution import DEPENDENT, GIVEN_UP, QUANTILES
from smallest_cli.bench.report.axis import plain_number
from smallest_cli.bench.schema import ArmResult, Estimate, MetricSummary, Result, Run, ThresholdResult
from smallest_cli.bench.stats.quantiles import fewest_for, least_size
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
    if unit != "ms":
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"


def overview_cell(arm: ArmResult, metric: str, quantile: str) -> str:
    """Format one cell of the overview; a dash where the arm lacks the metric, or has too few trials."""
    found = arm.metrics.get(metric)
    return quantile_figure(found, quantile) if found else "-"


def quantile_figure(found: MetricSummary, name: str) -> str:
    """Format a quantile; a dash if it would be the maximum, for too few trials."""
    return figure(found.quantile(name).v, found.unit) if found.n >= fewest_for(QUANTILES[name]) else "-"


def metric_cells(found: MetricSummary) -> list[str]:
    """Format a metric under `METRIC_COLUMNS`."""
    shown = {name: quantile_figure(found, name) for name in ("p50", "p95", "p99")}
    shown["max"] = figure(found.max, found.unit)
    p50, *others = (">=" * (found.is_bound(name) and text != "-") + text for name, text in shown.items())
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
    played = arm.metrics.get("min_safe_buffer")
    enough = played is not None and played.n >= fewest_for(0.95)
    return [
        (
            f"{plain_number(row.buffer_ms)} ms",
            f"{row.smooth:.1%}",
            f"{figure(row.ttfa_p50)} ms",
            f"{row.stalls_mean:.1f}",
            f"{figure(row.stall_total_p95)} ms" if enough else "-",
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
        few = [(name, fewest_for(QUANTILES[name])) for name in ("p95", "p99")]
        needed = [f"{name} from {n} trials" for name, n in few if ttfb.n < n]
        found += [f"a quantile that would be the maximum is not shown: {', '.join(needed)}"] if needed else []
        if ttfb.p50.hi is None:
            found.append(f"open CI (?): p50 needs {least_size(0.5)} trials")
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
        rate = plain_number(load.rate or 0)
        return f"open loop, {rate}/s {load.arrival}, at most {load.concurrency} in flight{short}"
    by = f", by {load.engine}" if load.engine else ""
    return (
        f"closed loop, {load.concurrency} in flight{by}{short}: each waits for a reply before the next "
        "request, so it understates the waits of independent callers"
    )


def threshold_text(each: ThresholdResult) -> str:
    """Format a threshold, its figure with the interval, and pass, FAIL or INCONCLUSIVE."""
    outcome = "pass" if each.passed else "INCONCLUSIVE" if each.inconclusive else "FAIL"
    if each.inconclusive or (each.ci and not each.confident):
        doubt = "CI spans the limit"
        if each.why and (each.ci or (None, None))[(outcome != "FAIL") == ("<" in each.expr)] is None:
            doubt = f"open CI: needs {each.why.removeprefix('n<')} trials"
            if each.why == GIVEN_UP:
                doubt = "open CI: trials timed out"
        outcome += f" ({doubt})"
    value = "no such figure"
    if each.value is not None:
        unit = f" {each.unit}" if each.unit in ("ms", "s") else ""
        value = f"{100 * each.value:.4g} %" if each.unit == "share" else figure(each.value, each.unit) + unit
        value = f"{'at least ' * each.at_least}{value}"
        value += f" {interval(Estimate(each.value, *each.ci), each.unit)}" if each.ci else ""
    return f"{each.expr}  {each.arm or 'no arm'}  {value}: {outcome}"


def comparison_head(compared: RunComparison) -> str:
    """Return the confidence of a comparison and what it takes for a change to count."""
    limits = f"{plain_number(compared.min_effect * 100)} % or {plain_number(compared.min_effect_ms)} ms"
    return (
        f"A vs B, {100 * compared.confidence:.4g} % CI per arm; changes under {limits} do not matter, shifts "
        f"under {figure(compared.noise_ms)} ms (p99 of the measurement's own delays) may be the machine's"
    )


def comparison_text(row: Row) -> str:
    """Format the comparison of one metric of one arm."""
    by = f"{figure(row.shift_ms.v)} ms {interval(row.shift_ms)}"
    return f"{row.verdict}: shift {by}, matters from {figure(row.matters_from_ms)} ms{_needed(row)}"


COMPARISON_COLUMNS = ("arm", "metric", "n", "A p50", "B p50", "shift", "matters from", "verdict")


def comparison_cells(row: Row, before: Estimate, after: Estimate) -> tuple[str, ...]:
    """Format the comparison of a metric under `COMPARISON_COLUMNS`, with the medians of A and B."""
    figures = (f"{figure(found.v)} {interval(found)}" for found in (before, after, row.shift_ms))
    verdict = row.verdict + _needed(row)
    return (row.arm, row.metric, f"{row.n[0]}, {row.n[1]}", *figures, figure(row.matters_from_ms), verdict)


def _needed(row: Row) -> str:
    return f"; about {plural(row.needed_n, 'trial')} per run would decide" if row.needed_n else ""


def not_compared_text(missing: NotCompared) -> str:
    """Format why an arm or metric is not compared."""
    return "  ".join(filter(None, (missing.arm, missing.metric, f"not compared: {missing.why}")))


def error_rate_text(row: ErrorRow) -> str:
    """Format the comparison of the error rates of one arm."""
    counts = zip(row.failed, row.n, row.error_rate, strict=True)
    before, after = (f"{failed} of {n} ({rate:.1%})" for failed, n, rate in counts)
    if row.verdict == "none":
        return "no trial failed in either run"
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
    if not compared.forced:
        doubtful = [run for run, verdict in zip("AB", compared.verdicts, strict=True) if verdict == "suspect"]
        why += [f"run {run} is suspect (--force ignores it)" for run in doubtful]
    return compared.verdict + (f": {', '.join(why)}" if why else "")


def conditions_text(run: Run) -> str:
    """Describe a compared run: its provenance, load and verdict."""
    return f"{provenance(run)}; {load_text(run)}; verdict {run.calibration.verdict}"


def provenance(run: Run) -> str:
    """Return the provenance of a result in one line."""
    request = run.request
    return (
        f"{run.target.base_url}  voice {request['voice']}  model {request['model']}  "
        f"{request['sample_rate']} Hz  seed {run.seed}  {run.started_utc}"
    )
