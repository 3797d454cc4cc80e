"""Render a result for a terminal as (style, line) pairs that fit a given width."""

from __future__ import annotations

import math
from collections.abc import Iterator
from textwrap import wrap
from typing import Any

from smallest_cli.bench.compare import RunComparison
from smallest_cli.bench.report import format
from smallest_cli.bench.report.advice import advice
from smallest_cli.bench.schema import ArmResult, Result, Run

Line = tuple[str, str]  # a style (title, head, good, warn, bad, dim or none) and a line

VERDICT_STYLES = {"ok": "good", "suspect": "warn", "invalid": "bad"}
COMPARISON_STYLES = {"faster": "good", "equivalent": "good", "slower": "bad", "inconclusive": "warn"}
FAILURE_STYLES = {"more": "bad", "fewer": "good", "unclear": "warn"}
WIDE = 150  # columns from which metric definitions fit beside their rows
BARS = " ▁▂▃▄▅▆▇█"
NAME_WIDTH = 18
METRIC_WIDTHS = (9, 19, 9, 9, 9)
SWEEP_WIDTHS = (10, 16, 12, 13)
OVERVIEW_WIDTHS = (9, 10, 8, 8, 10, 17)
SPANS = {"dns": "d", "tcp": "t", "tls": "s", "upgrade": "u"}


def render(result: Result, width: int) -> Iterator[Line]:
    """Render everything: conditions, each arm, distributions, timelines, an overview, verdict and advice."""
    run = result.run
    yield from _wrapped(format.provenance(run), width, "dim")
    yield from _wrapped(format.load_text(run), width, "dim")
    for arm in result.arms:
        yield "", ""
        yield from _arm(arm, run, width)
    yield "", ""
    yield from _definitions(result, width)
    yield from _distributions(result, width)
    yield from _timelines(result, width)
    # The overview is the last table, so that it is still visible on the terminal.
    yield from _sweeps(result, width)
    yield from _overview(result)
    yield from _conclusion(result, width)


def _arm(arm: ArmResult, run: Run, width: int) -> Iterator[Line]:
    kind = "" if arm.streaming else f"  ({format.NOT_STREAMED})"
    yield "title", f"{arm.id}  {arm.ok} of {arm.n} ok{kind}"
    if arm.errors:
        failed = f"errors: {format.error_counts(arm)} ({arm.error_rate:.1%}), not in the figures below"
        yield from _wrapped(failed, width, "bad")
        for name, message in arm.messages.items():
            yield from _wrapped(f"  {name}: {message}", width, "dim")
    if not arm.metrics:
        return
    wide = width >= WIDE
    yield "head", _row("", format.METRIC_COLUMNS, METRIC_WIDTHS) + ("   from -> to" if wide else "")
    for name, found in arm.metrics.items():
        label = name if found.unit == "ms" else f"{name} ({found.unit})"
        line = _row(label, format.metric_cells(found), METRIC_WIDTHS)
        yield "", f"{line}   {format.definition(run, name)}"[:width] if wide else line
    for buffer, smooth, ttfa, stalls, _ in format.player_cells(arm):
        label = f"{'buffer ' + buffer:<{NAME_WIDTH}}"
        yield "", f"{label} {smooth} without a stall, TTFA p50 {ttfa}, {stalls} stalls"
    for note in format.notes(arm):
        yield from _wrapped(note, width, "dim")


def _row(label: str, cells: Any, widths: tuple[int, ...]) -> str:
    shown = (f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
    return f"{label:<{NAME_WIDTH}}" + "".join(shown)


def _overview(result: Result) -> Iterator[Line]:
    columns = format.OVERVIEW_COLUMNS[result.run.load.model]
    yield "head", _row("", ("ok", *(title for _, _, title in columns)), OVERVIEW_WIDTHS)
    for arm in result.arms:
        cells = (format.overview_cell(arm, metric, quantile) for metric, quantile, _ in columns)
        yield "", _row(arm.id, (f"{arm.ok}/{arm.n}", *cells), OVERVIEW_WIDTHS)
    yield "", ""


def _sweeps(result: Result, width: int) -> Iterator[Line]:
    for sweep in result.sweep or ():
        yield from _wrapped(f"sweep of {sweep.levels[0].arm}: {sweep.why}", width, "head")
        yield "head", _row("in flight", format.SWEEP_COLUMNS[1:], SWEEP_WIDTHS)
        for level, *cells in format.sweep_rows(sweep):
            yield "", _row(level, cells, SWEEP_WIDTHS)
        yield "", ""


def _definitions(result: Result, width: int) -> Iterator[Line]:
    """List metric definitions if they do not fit in the rows."""
    used = dict.fromkeys(name for arm in result.arms for name in arm.metrics)
    if width >= WIDE or not used:
        return
    yield "head", "from -> to"
    indent = " " * (NAME_WIDTH + 1)
    for name in used:
        text = f"{name:<{NAME_WIDTH}} {format.definition(result.run, name)}"
        yield from (("dim", line) for line in wrap(text, width, subsequent_indent=indent))
    yield "", ""


def _distributions(result: Result, width: int) -> Iterator[Line]:
    """Draw each arm's distribution of client wait times on one logarithmic axis."""
    metric = format.OVERVIEW_COLUMNS[result.run.load.model][0][0]
    samples = {arm.id: [value for value in arm.samples.of(metric) if value] for arm in result.arms}
    values = [value for each in samples.values() for value in each]
    if not values:
        return
    low, high = math.log10(min(values) * 0.95), math.log10(max(values) * 1.05)
    columns = width - NAME_WIDTH - 1
    yield "head", f"{metric}, logarithmic"
    for name, each in samples.items():
        if not each:
            continue
        counts = [0] * columns
        for value in each:
            counts[min(columns - 1, int((math.log10(value) - low) / (high - low) * columns))] += 1
        bars = "".join(BARS[math.ceil(count / max(counts) * (len(BARS) - 1))] for count in counts)
        yield "", f"{name:<{NAME_WIDTH}} {bars}".rstrip()
    yield "dim", " " * (NAME_WIDTH + 1) + _axis(low, high, columns)
    yield "", ""


def _axis(low: float, high: float, columns: int) -> str:
    marks = [" "] * columns
    steps = [m * 10**e for e in range(math.floor(low), math.ceil(high) + 1) for m in (1, 1.5, 2, 3, 5, 7)]
    last = -1
    for value in [10**low, *(step for step in steps if step and low < math.log10(step) < high)]:
        label = f"{value:.3g} ms"
        at = int((math.log10(value) - low) / (high - low) * columns)
        if at > last and at + len(label) < columns:
            marks[at : at + len(label)] = label
            last = at + len(label) + 1
    return "".join(marks).rstrip()


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
    for each in result.slo:
        yield from _wrapped(format.threshold_text(each), width, "good" if each.passed else "bad")
    if failed := format.warmups_text(result):
        yield from _wrapped(failed, width, "warn")
    calibration = result.run.calibration
    named = (("measurement error", calibration.floor_ms), ("scheduler delay", calibration.lag_ms))
    delays = [
        f"{name} p50 {format.figure(ms.p50)} ms, p99 {format.figure(ms.p99)} ms" for name, ms in named if ms
    ]
    style = VERDICT_STYLES[calibration.verdict] if any(arm.ok for arm in result.arms) else "bad"
    text = f"verdict: {calibration.verdict}, {format.verdict_text(result)}"
    yield from _wrapped(text + (f" ({'; '.join(delays)})" if delays else ""), width, style)
    for reason in calibration.reasons:
        yield from _wrapped(f"  {reason}", width, "dim")
    yield from _wrapped(advice(result), width, "title")


def render_comparison(compared: RunComparison, width: int) -> Iterator[Line]:
    """Render the comparison of two runs."""
    limits = f"{compared.min_effect * 100:g} % or {compared.min_effect_ms:g} ms"
    head = f"A vs B, {100 * compared.confidence:.4g} % CI per arm; changes under {limits} are not significant"
    yield from _wrapped(head, width, "dim")
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
        parts = filter(None, (missing.arm, missing.metric, f"not compared: {missing.why}"))
        yield from _wrapped("  ".join(parts), width, "warn")
    for name, verdict in zip("AB", compared.verdicts, strict=True):
        if verdict != "ok":
            yield from _wrapped(f"run {name} is {verdict}: {format.VERDICT_TEXTS[verdict]}", width, "warn")
    yield from _wrapped(f"overall: {format.overall_text(compared)}", width, "title")


def _wrapped(text: str, width: int, style: str) -> Iterator[Line]:
    for line in wrap(text, width, subsequent_indent="  ") or [""]:
        yield style, line
