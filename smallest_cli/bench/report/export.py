"""Export a result as Markdown and as CSV."""

from __future__ import annotations

import csv
import io

from smallest_cli.bench.compare import RunComparison, arms_of
from smallest_cli.bench.distribution import QUANTILES
from smallest_cli.bench.report import format
from smallest_cli.bench.report.advice import advice
from smallest_cli.bench.schema import ArmResult, Result, Run
from smallest_cli.bench.stats.quantiles import fewest_for
from smallest_cli.security import printable

MAX_LENGTH = 10_000
CSV_COLUMNS = ("arm", "metric", "unit", "n", "mean", "min", "max", "mad", "outliers")


def to_markdown(result: Result) -> str:
    """Render a section that can be pasted into an issue."""
    run = result.run
    lines = [
        "# Speech latency",
        "",
        f"{_escape(format.provenance(run))}; {_escape(format.load_text(run))}.",
        "",
    ]
    lines += [f"**{_escape(advice(result))}**", ""]
    lines += [f"Verdict: {run.calibration.verdict} ({format.verdict_text(result)}).", ""]
    lines += [f"- {_escape(format.warmups_text(result))}"] if result.warmups.errors else []
    lines += [f"- {_escape(reason)}" for reason in run.calibration.reasons]
    lines += [f"- {_escape(format.threshold_text(each))}" for each in result.slo]
    for sweep in result.sweep or ():
        lines += ["", f"## sweep of {_escape(sweep.levels[0].arm)}", "", f"{_escape(sweep.why)}.", ""]
        lines += [f"| {' | '.join(format.SWEEP_COLUMNS)} |", "|--:" * len(format.SWEEP_COLUMNS) + "|"]
        lines += [f"| {' | '.join(cells)} |" for cells in format.sweep_rows(sweep)]
    for arm in result.arms:
        lines += _arm(arm, run)
    return "\n".join(lines) + "\n"


def comparison_to_markdown(compared: RunComparison, first: Result, second: Result) -> str:
    """Render the comparison of the results `first` (A) and `second` (B) as a section."""
    lines = ["# Comparison of speech latency", "", f"**{_escape(format.overall_text(compared))}**", ""]
    for name, run in (("A", first.run), ("B", second.run)):
        lines.append(f"- {name}: {_escape(format.conditions_text(run))}.")
    lines += ["", f"{_escape(format.comparison_head(compared))}.", ""]
    if compared.comparisons:
        columns = format.COMPARISON_COLUMNS
        lines += [f"| {' | '.join(columns)} |", f"|---|---{'|--:' * (len(columns) - 3)}|---|"]
    for row in compared.comparisons:
        medians = (arm.metrics[row.metric].p50 for arm in arms_of(row, first, second))
        arm, *cells = format.comparison_cells(row, *medians)
        lines.append(f"| {_escape(arm)} | {' | '.join(cells)} |")
    lines += ["", *(f"- {_escape(f'{row.arm}: {format.error_rate_text(row)}')}" for row in compared.errors)]
    lines += [f"- {_escape(format.not_compared_text(each))}" for each in compared.not_compared]
    return "\n".join(lines) + "\n"


def _arm(arm: ArmResult, run: Run) -> list[str]:
    kind = "" if arm.streaming else f" ({format.NOT_STREAMED})"
    lines = [
        "",
        f"## {arm.id}",
        "",
        f"{arm.ok} of {arm.n} ok{kind}; errors: {_escape(format.error_counts(arm))}.",
    ]
    lines += ["", *(f"- {_escape(f'{name}: {message}')}" for name, message in arm.messages.items())]
    lines += [f"- {_escape(note)}" for note in format.notes(arm)]
    if arm.metrics:
        columns = " | ".join(format.METRIC_COLUMNS)
        lines += ["", f"| metric | n | {columns} | from | to |", "|---|--:|--:|--:|--:|--:|--:|---|---|"]
    for name, found in arm.metrics.items():
        ends = run.defs.metrics[name]
        cells = [f"{name} ({found.unit})", str(found.n), *format.metric_cells(found)]
        lines.append(f"| {' | '.join([*cells, _escape(ends.starts), _escape(ends.stops)])} |")
    if arm.player:
        lines += ["", "| prebuffer | without a stall | TTFA p50 | stalls |", "|--:|--:|--:|--:|"]
        lines += [f"| {' | '.join(cells[:4])} |" for cells in format.player_cells(arm)]
    return lines


def _escape(text: str) -> str:
    """Escape characters that Markdown or a terminal would interpret."""
    shown = printable(text, MAX_LENGTH)
    return "".join(f"\\{character}" if character in "\\`*_{}<>#|[]!~&" else character for character in shown)


def to_csv(result: Result) -> str:
    """Render one row for each arm and metric; an open bound of a quantile is empty, and so is
    a quantile that would be the maximum.

    Each arm starts with rows of counts, which have only an `n`: its trials, the successful ones, and each
    class of error. The last column names the statistics that are lower bounds.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    head = [*CSV_COLUMNS, *(f"{name}{end}" for name in QUANTILES for end in ("", "_lo", "_hi")), "at_least"]
    writer.writerow(head)
    for arm in result.arms:
        counts = {"trials": arm.n, "ok": arm.ok}
        counts |= {f"error {name}": count for name, count in arm.errors.items()}
        empty = [""] * (len(head) - 4)
        writer.writerows([arm.id, name, "trials", count, *empty] for name, count in counts.items())
        for metric, found in arm.metrics.items():
            row = [arm.id, metric, *(getattr(found, name) for name in CSV_COLUMNS[2:])]
            for name, p in QUANTILES.items():
                quantile = found.quantile(name)
                row += [quantile.v if found.n >= fewest_for(p) else None, quantile.lo, quantile.hi]
            writer.writerow([*row, " ".join(found.at_least or ())])
    return out.getvalue()
