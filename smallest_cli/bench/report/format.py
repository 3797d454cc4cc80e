"""Format the figures, verdicts and conditions of a result as text that all reports share."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from smallest_cli.bench.compare import ErrorRow, NotCompared, Row, RunComparison
from smallest_cli.bench.distribution import DEPENDENT, GIVEN_UP, QUANTILES
from smallest_cli.bench.report.axis import plain_number
from smallest_cli.bench.schema import (
    ArmResult,
    Delays,
    Estimate,
    MetricSummary,
    Result,
    Run,
    Sweep,
    ThresholdResult,
)
from smallest_cli.bench.stats.quantiles import fewest_for, least_size
from smallest_cli.errors import plural
from smallest_cli.models import LATE_WRITE_NS

MAX_NAMED = 3  # more arms are counted
MAX_LISTED = 2  # arms that missed a threshold, with their figures
Outcome = Literal["FAIL", "INCONCLUSIVE", "pass"]
OUTCOMES: tuple[Outcome, ...] = ("FAIL", "INCONCLUSIVE", "pass")
"""Of a threshold, the worst first."""

VERDICT_TEXTS = {
    "ok": "measurement overhead is negligible",
    "suspect": "measurement overhead may be significant",
    "invalid": "measurement overhead exceeds the limit",
}
NOT_STREAMED = "not streamed: the reply is complete before it is sent"
SWEEP_COLUMNS = ("in flight", "trials/s", "95 % CI", "audio s/s", "ttfb p95 ms")
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
    if unit in ("count", "dBFS"):
        return f"{value:.0f}" if unit == "count" and value == int(value) else f"{value:.1f}"
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
    ttfb, found = arm.metrics.get("ttfb"), limits(arm)
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


def limits(arm: ArmResult) -> list[str]:
    """Return the notes of an arm about what too few trials do not give."""
    if (ttfb := arm.metrics.get("ttfb")) is None:
        return []
    few = [(name, fewest_for(QUANTILES[name])) for name in ("p95", "p99")]
    needed = [f"{name} from {n} trials" for name, n in few if ttfb.n < n]
    found = [f"a quantile that would be the maximum is not shown: {', '.join(needed)}"] if needed else []
    return found + [f"open CI (?): p50 needs {least_size(0.5)} trials"] * (ttfb.p50.hi is None)


def warnings(arm: ArmResult) -> list[str]:
    """Return the notes of an arm that every report shows: what was not measured as planned."""
    found = []
    if arm.first_is_outlier:
        found.append("the first measured trial is an outlier: use a longer --warmup")
    if arm.slow_sends:
        late = f"sending took more than {LATE_WRITE_NS / 1e6:g} ms, times count from its start"
        found.append(f"{plural(arm.slow_sends, 'trial')}: {late}")
    if arm.reopened:
        found.append(f"{plural(arm.reopened, 'trial')} had to reopen a warm connection")
    if arm.checks_failed:
        failed = plural(arm.checks_failed, "check")
        found.append(f"{failed} failed, not in the figures: {arm.check_message}")
    return found


def sweep_rows(sweep: Sweep) -> list[tuple[str, ...]]:
    """Format the levels of a sweep under `SWEEP_COLUMNS`."""
    return [
        (
            f"{each.concurrency}{' (knee)' * (each.concurrency == sweep.knee)}",
            figure(each.trials_per_s.v, "x"),
            interval(each.trials_per_s, "x"),
            figure(each.audio_s_per_s, "x"),
            figure(each.ttfb_p95.v if each.ttfb_p95 else None),
        )
        for each in sweep.levels
    ]


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


def grouped_notes(result: Result, notes_of: Callable[[ArmResult], list[str]]) -> list[str]:
    """Return the notes of all arms, each once with its arms."""
    arms: dict[str, list[str]] = {}
    for arm in result.arms:
        for note in notes_of(arm):
            arms.setdefault(note, []).append(arm.id)
    return [f"{_named(names, len(result.arms))}: {note}" for note, names in arms.items()]


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
        rate = plain_number(load.rate or 0)
        return f"open loop, {rate}/s {load.arrival}, at most {load.concurrency} in flight{short}"
    by = f", by {load.engine}" if load.engine else ""
    levels = ", ".join(map(str, load.levels or [load.concurrency]))
    return (
        f"closed loop, {levels} in flight{by}{short}: each waits for a reply before the next "
        "request, so it understates the waits of independent callers"
    )


def threshold_text(each: ThresholdResult) -> str:
    """Format a threshold, its figure with the interval, and pass, FAIL or INCONCLUSIVE."""
    value, outcome = threshold_cells(each)
    return f"{each.expr}  {each.arm or 'no arm'}  {value}: {outcome}"


def threshold_cells(each: ThresholdResult) -> tuple[str, str]:
    """Format the figure with its interval, and the outcome with why it is in doubt."""
    value, outcome, shown = "no such figure", _outcome(each), str(_outcome(each))
    if each.inconclusive or (each.ci and not each.confident):
        doubt = "CI spans the limit"
        if each.why and (each.ci or (None, None))[(outcome != "FAIL") == ("<" in each.expr)] is None:
            doubt = f"open CI: needs {each.why.removeprefix('n<')} trials"
            if each.why == GIVEN_UP:
                doubt = "open CI: trials timed out"
        shown += f" ({doubt})"
    if each.value is not None:
        unit = f" {each.unit}" if each.unit not in ("share", "x", "count") else ""
        value = f"{100 * each.value:.4g} %" if each.unit == "share" else figure(each.value, each.unit) + unit
        value = f"{'at least ' * each.at_least}{value}"
        value += f" {interval(Estimate(each.value, *each.ci), each.unit)}" if each.ci else ""
    return value, shown


def _outcome(each: ThresholdResult) -> Outcome:
    return "pass" if each.passed else "INCONCLUSIVE" if each.inconclusive else "FAIL"


def thresholds(result: Result) -> Iterator[tuple[str, Outcome]]:
    """Yield one line for each threshold, and its worst outcome.

    The worst arms are listed with their figures; if every arm met it, the one that came closest.
    """
    for text in dict.fromkeys(each.expr for each in result.slo):
        arms = [each for each in result.slo if each.expr == text]
        sign = -1 if "<" in text else 1
        arms.sort(key=lambda each: (OUTCOMES.index(_outcome(each)), (each.value or 0.0) * sign))
        worst = _outcome(arms[0])
        if len(arms) == 1:
            yield threshold_text(arms[0]), worst
            continue
        alike = [each for each in arms if _outcome(each) == worst]
        most = 1 if worst == "pass" else MAX_LISTED
        cells = [(each.arm, *threshold_cells(each)) for each in alike[:most]]
        listed = [f"{arm} {value}{shown.removeprefix(worst)}" for arm, value, shown in cells]
        more = ", ..." * (len(alike) > most > 1)
        yield f"{text}  {worst} in {len(alike)} of {len(arms)} arms: {', '.join(listed)}{more}", worst


def comparison_head(compared: RunComparison) -> str:
    """Return the confidence of a comparison and what it takes for a change to count."""
    limits = f"{plain_number(compared.min_effect * 100)} % or {plain_number(compared.min_effect_ms)} ms"
    return (
        f"A vs B, {100 * compared.confidence:.4g} % CI per arm; changes under {limits} do not matter, shifts "
        f"under {figure(compared.noise_ms)} ms (p99 of the measurement's own delays) may be the machine's"
    )


def comparison_text(row: Row) -> str:
    """Format the comparison of one metric of one arm."""
    unit = "" if row.unit == "x" else f" {row.unit}"
    by = f"{figure(row.shift_ms.v, row.unit)}{unit} {interval(row.shift_ms, row.unit)}"
    limit = f"{figure(row.matters_from_ms, row.unit)}{unit}"
    return f"{_word(row)}: shift {by}, matters from {limit}{_needed(row)}"


def _word(row: Row) -> str:
    """Return the verdict, which is about a time or about another figure."""
    words = {} if row.unit == "ms" else {"slower": "higher", "faster": "lower"}
    return words.get(row.verdict, row.verdict)


COMPARISON_COLUMNS = ("arm", "metric", "n", "A p50", "B p50", "shift", "matters from", "verdict")


def comparison_cells(row: Row, before: Estimate, after: Estimate) -> tuple[str, ...]:
    """Format the comparison of a metric under `COMPARISON_COLUMNS`, with the medians of A and B."""
    found = (before, after, row.shift_ms)
    figures = (f"{figure(each.v, row.unit)} {interval(each, row.unit)}" for each in found)
    limit, verdict = figure(row.matters_from_ms, row.unit), _word(row) + _needed(row)
    return (row.arm, f"{row.metric} ({row.unit})", f"{row.n[0]}, {row.n[1]}", *figures, limit, verdict)


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


def delays_text(delays: Delays | None) -> str:
    """Summarise delays in ms."""
    if delays is None:
        return "not measured"
    return f"p50 {figure(delays.p50)} ms, p99 {figure(delays.p99)} ms, n {delays.n}"


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
