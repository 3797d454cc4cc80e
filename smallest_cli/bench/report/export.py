"""A result as a file for other programs and for people: Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from smallest_cli.bench.report.advice import advice
from smallest_cli.bench.report.format import (
    NOT_STREAMED,
    cells,
    error_words,
    figure,
    load_words,
    promise_words,
    provenance,
    remarks,
    verdict_words,
)
from smallest_cli.security import printable

LONGEST = 10_000
CSV_HEAD = ("arm", "metric", "unit", "n", "mean", "min", "max", "mad", "outliers")
QUANTILES = ("p50", "p90", "p95", "p99", "p99.9")


def to_markdown(result: Mapping[str, Any]) -> str:
    """A section that can be pasted into an issue."""
    run = result["run"]
    word = run["calibration"]["verdict"]
    lines = ["# Speech latency", "", f"{_plain(provenance(run))}; {_plain(load_words(run))}.", ""]
    lines += [f"**{_plain(advice(result))}**", "", f"Verdict: {word} ({verdict_words(result)}).", ""]
    lines += [f"- {_plain(reason)}" for reason in run["calibration"]["reasons"]]
    lines += [f"- {_plain(promise_words(each))}" for each in result["slo"]]
    for arm in result["arms"]:
        lines += _arm(arm, run)
    return "\n".join(lines) + "\n"


def _arm(arm: Mapping[str, Any], run: Mapping[str, Any]) -> list[str]:
    kind = "" if arm["streaming"] else f" ({NOT_STREAMED})"
    lines = [
        "",
        f"## {arm['id']}",
        "",
        f"{arm['ok']} of {arm['n']} ok{kind}; errors: {_plain(error_words(arm))}.",
    ]
    lines += ["", *(f"- {_plain(f'{name}: {words}')}" for name, words in arm["messages"].items())]
    lines += [f"- {_plain(each)}" for each in remarks(arm)]
    if arm["metrics"]:
        lines += [
            "",
            "| metric | n | p50 | its 95 % interval | p95 | p99 | max | from | to |",
            "|---|--:|--:|--:|--:|--:|--:|---|---|",
        ]
        lines += [_row(name, found, run) for name, found in arm["metrics"].items()]
    if arm["player"]:
        lines += ["", "| prebuffer | without a stall | heard at p50 | stalls |", "|--:|--:|--:|--:|"]
        lines += [_played(row) for row in arm["player"]]
    return lines


def _row(name: str, found: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    definition = run["defs"]["metrics"][name]
    head = [f"{name} ({found['unit']})", str(found["n"])]
    ends = [_plain(definition["starts"]), _plain(definition["stops"])]
    return f"| {' | '.join([*head, *cells(found), *ends])} |"


def _played(row: Mapping[str, Any]) -> str:
    heard, stalls = figure(row["ttfa_p50"]), row["stalls_mean"]
    return f"| {row['buffer_ms']:g} ms | {row['smooth']:.1%} | {heard} ms | {stalls:.1f} |"


def _plain(text: str) -> str:
    """Text in which neither Markdown nor a terminal finds anything to do."""
    shown = printable(text, LONGEST)
    return "".join(f"\\{character}" if character in "\\`*_{}<>#|" else character for character in shown)


def to_csv(result: Mapping[str, Any]) -> str:
    """A row for each arm and metric; quantiles with their bounds, empty where a bound is open.

    Before them each arm has rows of counts, which have an n alone: its trials, those that succeeded, and
    those of each class of error. The last column names the statistics whose true value may be greater.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    head = [*CSV_HEAD, *(f"{name}{end}" for name in QUANTILES for end in ("", "_lo", "_hi")), "at_least"]
    writer.writerow(head)
    for arm in result["arms"]:
        counts = {"trials": arm["n"], "ok": arm["ok"]}
        counts |= {f"error {name}": count for name, count in arm["errors"].items()}
        empty = [""] * (len(head) - 4)
        writer.writerows([arm["id"], name, "trials", count, *empty] for name, count in counts.items())
        for metric, found in arm["metrics"].items():
            known = [arm["id"], metric, *(found[name] for name in CSV_HEAD[2:])]
            quantiles = [found[name][key] for name in QUANTILES for key in ("v", "lo", "hi")]
            writer.writerow([*known, *quantiles, " ".join(found.get("at_least", ()))])
    return out.getvalue()
