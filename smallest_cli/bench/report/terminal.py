"""Render a result for a terminal as (style, line) pairs that fit a given width."""

from __future__ import annotations

import math
from collections.abc import Iterator
from textwrap import wrap
from typing import Any

from smallest_cli.bench.compare import RunComparison
from smallest_cli.bench.report import format
from smallest_cli.bench.report.advice import advice
from smallest_cli.bench.schema import ArmResult, Result
from smallest_cli.errors import plural
from smallest_cli.security import printable

Line = tuple[str, str]  # a style (title, head, cyan, good, warn, bad, dim or none) and a line

VERDICT_STYLES = {"ok": "good", "suspect": "warn", "invalid": "bad"}
OUTCOME_STYLES = {"pass": "good", "INCONCLUSIVE": "warn", "FAIL": "bad"}
COMPARISON_STYLES = {"faster": "good", "equivalent": "good", "slower": "bad", "inconclusive": "warn"}
FAILURE_STYLES = {"more": "bad", "fewer": "good", "unclear": "warn"}
BARS = " ▁▂▃▄▅▆▇█"
NAME_WIDTH = 18
METRIC_WIDTHS = (9, 19, 9, 9, 9)
MIN_FIGURES = 40  # columns for figures, which a long arm id leaves
MAX_FAILURES = 3
MAX_BARS = 64  # more would be mostly gaps
MAX_MESSAGE = 60  # characters of a message in the list of failures: one line of 100 columns
SWEEP_WIDTHS = (10, 16, 12, 13)
SPANS = {"dns": "d", "tcp": "t", "tls": "s", "upgrade": "u"}


def render(result: Result, width: int, *, verbose: bool = False) -> Iterator[Line]:
    """Render one table of all arms, a histogram, failures, thresholds, verdict and advice.

    With `verbose`, every metric of each arm, the definitions and two timelines of each arm come first.
    """
    run = result.run
    yield from _wrapped(format.provenance(run), width, "dim")
    yield from _wrapped(f"{format.load_text(run)}; {format.warmups_text(result)}", width, "dim")
    yield "", ""
    if verbose:
        for arm in result.arms:
            yield from _arm(arm, width)
            yield "", ""
        yield from _definitions(result, width)
        yield from _timelines(result, width)
    # The overview is the last table, so that it is still visible on the terminal.
    yield from _sweeps(result, width)
    yield from _overview(result, width)
    yield from _histogram(result, width)
    yield from _failures(result, width, None if verbose else MAX_FAILURES)
    yield from _conclusion(result, width)
    if not verbose:
        yield "dim", "every metric, definitions, timelines: --verbose"[:width]


def _arm(arm: ArmResult, width: int) -> Iterator[Line]:
    kind = "" if arm.streaming else f"  ({format.NOT_STREAMED})"
    yield "title", f"{arm.id}  {arm.ok} of {arm.n} ok{kind}"
    if arm.errors:
        failed = f"errors: {format.error_counts(arm)} ({arm.error_rate:.1%}), not in the figures below"
        yield from _wrapped(failed, width, "bad")
        for name, message in arm.messages.items():
            yield from _wrapped(f"  {name}: {message}", width, "dim")
    if not arm.metrics:
        return
    yield "head", _row("", format.METRIC_COLUMNS, METRIC_WIDTHS)
    for name, found in arm.metrics.items():
        label = name if found.unit == "ms" else f"{name} ({found.unit})"
        yield "", _row(label, format.metric_cells(found), METRIC_WIDTHS)
    for buffer, smooth, ttfa, stalls, _ in format.player_cells(arm):
        label = f"{'buffer ' + buffer:<{NAME_WIDTH}}"
        yield "", f"{label} {smooth} without a stall, TTFA p50 {ttfa}, {stalls} stalls"
    for note in format.notes(arm):
        yield from _wrapped(note, width, "dim")


def _row(label: str, cells: Any, widths: tuple[int, ...]) -> str:
    shown = (f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
    return f"{label:<{NAME_WIDTH}}" + "".join(shown)


def _overview(result: Result, width: int) -> Iterator[Line]:
    """Tabulate the arms. Columns that do not fit are left out, in the order of `format.OPTIONAL_COLUMNS`."""
    columns = format.overview(result)
    names = columns.pop("arm")
    longest = max(NAME_WIDTH, width - MIN_FIGURES)
    names = [name if len(name) <= longest else f"{name[: longest - 1]}…" for name in names]
    widths = {title: max(map(len, (title, *cells))) + 2 for title, cells in columns.items()}
    space = width - max(map(len, names), default=0)
    for title in format.OPTIONAL_COLUMNS:
        if sum(widths.values()) > space:
            widths.pop(title, None)
    for number, name in enumerate(["", *names]):
        cells = ((title, *columns[title])[number] for title in widths)
        line = "".join(f"{cell:>{size}}" for cell, size in zip(cells, widths.values(), strict=True))
        yield "" if number else "head", f"{name:<{width - space}}{line}"[:width]
    yield "", ""


def _sweeps(result: Result, width: int) -> Iterator[Line]:
    for sweep in result.sweep or ():
        yield from _wrapped(f"sweep of {sweep.levels[0].arm}: {sweep.why}", width, "head")
        yield "head", _row("in flight", format.SWEEP_COLUMNS[1:], SWEEP_WIDTHS)
        for level, *cells in format.sweep_rows(sweep):
            yield "", _row(level, cells, SWEEP_WIDTHS)
        yield "", ""


def _definitions(result: Result, width: int) -> Iterator[Line]:
    """List the definitions of the metrics."""
    used = dict.fromkeys(name for arm in result.arms for name in arm.metrics)
    if not used:
        return
    yield "head", "from -> to"
    indent = " " * (NAME_WIDTH + 1)
    for name in used:
        text = f"{name:<{NAME_WIDTH}} {format.definition(result.run, name)}"
        yield from (("dim", line) for line in wrap(text, width, subsequent_indent=indent))
    yield "", ""


def _histogram(result: Result, width: int) -> Iterator[Line]:
    """Draw each arm's distribution of client wait times on one logarithmic axis."""
    metric = format.OVERVIEW_COLUMNS[result.run.load.model][0][0]
    samples = {arm.id: [value for value in arm.samples.of(metric) if value] for arm in result.arms}
    values = [value for each in samples.values() for value in each]
    if not values:
        return
    low, high = math.log10(min(values) * 0.95), math.log10(max(values) * 1.05)
    indent = min(max(map(len, samples)), width // 2) + 1
    columns = min(width - indent, MAX_BARS)
    yield "head", f"{metric}, trials by time (logarithmic)"[:width]
    for name, each in samples.items():
        if not each:
            continue
        counts = [0] * columns
        for value in each:
            counts[min(columns - 1, int((math.log10(value) - low) / (high - low) * columns))] += 1
        bars = "".join(BARS[math.ceil(count / max(counts) * (len(BARS) - 1))] for count in counts)
        yield "cyan", f"{name[: indent - 1]:<{indent}}{bars}".rstrip()
    yield "dim", " " * indent + _axis(low, high, columns)
    yield "", ""


def _axis(low: float, high: float, columns: int) -> str:
    """Label both ends, and round values between them."""
    last = f"{format.plain(10**high)} ms"
    marks = [" "] * (columns - len(last)) + list(last)
    steps = [m * 10.0**e for e in range(math.floor(low), math.ceil(high) + 1) for m in (1, 1.5, 2, 3, 5, 7)]
    free = 0
    for value in [10**low, *(step for step in steps if low < math.log10(step) < high)]:
        label = f"{format.plain(value)} ms"
        at = int((math.log10(value) - low) / (high - low) * columns)
        if at >= free and at + len(label) + 1 < columns - len(last):
            marks[at : at + len(label)] = label
            free = at + len(label) + 1
    return "".join(marks)


def _failures(result: Result, width: int, limit: int | None) -> Iterator[Line]:
    """List failed warm-ups, failed trials (class, arms, message), and what was not measured as planned."""
    if result.warmups.errors:
        yield from _wrapped(format.warmups_text(result), width, "bad")
    failures = format.failures(result)
    for count, name, arms, message in failures[:limit]:
        reason = f": {printable(message, MAX_MESSAGE)}" if message else ""
        yield from _wrapped(f"failed: {count} {name} in {arms}{reason}", width, "bad")
    if limit is not None and (more := len(failures) - limit) > 0:
        yield "dim", f"{plural(more, 'more kind')} of failure: --verbose"[:width]
    for text in format.grouped_notes(result, format.warnings):
        yield from _wrapped(text, width, "warn")
    for text in format.grouped_notes(result, format.limits):
        yield from _wrapped(text, width, "dim")


def _timelines(result: Result, width: int) -> Iterator[Line]:
    """Draw the median and the worst trial of each arm on one time axis."""
    drawn = [(arm.id, name, timeline) for arm in result.arms for name, timeline in arm.drawn.items()]
    if not drawn:
        return
    ends = (sum(each.connect.values()) + (each.complete or each.last_audio) for _, _, each in drawn)
    total = max(ends) or 1.0
    columns = width - NAME_WIDTH - 8
    key = "trial timeline: d dns, t tcp, s tls, u upgrade, . wait, = audio arrives, - end marker"
    yield from _wrapped(key, width, "head")
    for arm, name, timeline in drawn:
        spans = [(SPANS[step], ms) for step, ms in timeline.connect.items()]
        spans += [(".", timeline.ttfb), ("=", timeline.last_audio - timeline.ttfb)]
        if timeline.complete is not None:
            spans.append(("-", timeline.complete - timeline.last_audio))
        yield "", f"{arm:<{NAME_WIDTH}} {name:<6} {_bar(spans, total, columns)}"
    yield "dim", f"{'':<{NAME_WIDTH}} {'':<6} 0{format.figure(total) + ' ms':>{columns - 1}}"
    yield "", ""


def _bar(spans: list[tuple[str, float]], total: float, columns: int) -> str:
    drawn, at = "", 0.0
    for mark, ms in spans:
        at += ms
        until = round(max(0.0, min(at / total, 1.0)) * columns)
        # A span of more than 0 ms gets at least one character.
        drawn += mark * max(until - len(drawn), 1 if ms > 0 and len(drawn) < columns else 0)
    return drawn[:columns]


def _conclusion(result: Result, width: int) -> Iterator[Line]:
    for text, outcome in format.thresholds(result):
        yield from _wrapped(text, width, OUTCOME_STYLES[outcome])
    calibration = result.run.calibration
    named = (("measurement error", calibration.floor_ms), ("scheduler delay", calibration.lag_ms))
    delays = [f"{name} {format.delays_text(each)}" for name, each in named if each]
    style = VERDICT_STYLES[calibration.verdict] if any(arm.ok for arm in result.arms) else "bad"
    text = f"verdict: {calibration.verdict}, {format.verdict_text(result)}"
    yield from _wrapped(text + (f" ({'; '.join(delays)})" if delays else ""), width, style)
    for reason in calibration.reasons:
        yield from _wrapped(f"  {reason}", width, "dim")
    yield from _wrapped(advice(result), width, "title")


def render_comparison(compared: RunComparison, width: int) -> Iterator[Line]:
    """Render the comparison of two runs."""
    yield from _wrapped(format.comparison_head(compared), width, "dim")
    for row in compared.comparisons:
        text = f"{row.arm}  {row.metric}  {format.comparison_text(row)}"
        yield from _wrapped(text, width, COMPARISON_STYLES[row.verdict])
    failing = [each for each in compared.errors if each.verdict != "none"]
    if not failing:
        yield "dim", "no trial failed in either run"
    for each in failing:
        text = f"{each.arm}  {format.error_rate_text(each)}"
        yield from _wrapped(text, width, FAILURE_STYLES[each.verdict])
    for missing in compared.not_compared:
        yield from _wrapped(format.not_compared_text(missing), width, "warn")
    for name, verdict in zip("AB", compared.verdicts, strict=True):
        if verdict != "ok":
            yield from _wrapped(f"run {name} is {verdict}: {format.VERDICT_TEXTS[verdict]}", width, "warn")
    yield from _wrapped(f"overall: {format.overall_text(compared)}", width, "title")


def _wrapped(text: str, width: int, style: str) -> Iterator[Line]:
    for line in wrap(text, width, subsequent_indent="  ") or [""]:
        yield style, line
