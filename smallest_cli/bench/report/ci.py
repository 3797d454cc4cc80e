"""Export a result in the formats that CI services and monitoring read.

Names and labels of the figures are stable: dashboards refer to them. Text of a result comes from servers and
files, so `printable` makes it one line, and each format escapes what it would interpret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import product
from typing import Any

from smallest_cli.bench.distribution import QUANTILES
from smallest_cli.bench.report import format
from smallest_cli.bench.report.advice import advice
from smallest_cli.bench.results import INVALID
from smallest_cli.bench.schema import Result
from smallest_cli.bench.stats.quantiles import fewest_for
from smallest_cli.security import printable

MAX_LENGTH = 1000
SECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
SMALLER_IS_BETTER = ("ttfb", "ttfb_cold", "ttfb_e2e", "ttfa", "min_safe_buffer", "last_audio", "rtf")
PLOTTED = ("p50", "p95")
BASE_UNITS = {"ms": ("seconds", 1000.0), "s": ("seconds", 1.0), "x": ("ratio", 1.0)}
"""Units of Prometheus, and the divisor; any other unit keeps its name."""


def to_junit(result: Result) -> str:
    """Render JUnit XML (of Ant and Jenkins): the run is a test case, and each threshold on each arm.

    A missed threshold is a failure, one with too few trials is skipped. An invalid run is an error, and skips
    the thresholds.
    """
    from smallest_cli.bench.report.html import fill_template  # imports Jinja2

    started = SECONDS.match(result.run.started_utc)
    return fill_template(
        "junit.xml.j2",
        result=result,
        run=result.run,
        invalid=result.exit == INVALID,
        reason=_reason(result),
        started=started[0] if started else None,
        messages=[advice(result), f"{result.run.calibration.verdict}: {_reason(result)}", *_failures(result)],
    )


def _reason(result: Result) -> str:
    """Explain a run that has no verdict, or is suspect."""
    return "; ".join([format.verdict_text(result), *result.run.calibration.reasons])


def _failures(result: Result) -> Iterator[str]:
    """Describe failed warm-ups and each kind of failed trials."""
    if result.warmups.errors:
        yield format.warmups_text(result)
    for count, name, arms, message in format.failures(result):
        yield f"{count} {name} in {arms}: {message}"


def to_github(result: Result) -> str:
    """Render workflow commands of GitHub Actions: annotations that its runner reads from stdout.

    Each threshold is one annotation for all arms, since GitHub shows ten of a kind for a step.
    """
    titles = {"FAIL": ("error", "threshold missed"), "INCONCLUSIVE": ("warning", "too few trials")}
    outcomes = [(text, outcome) for text, outcome in format.thresholds(result) if outcome != "pass"]
    found = [(*titles[outcome], text) for text, outcome in outcomes]
    if result.exit == INVALID:
        found.append(("error", "invalid run", _reason(result)))
    elif result.run.calibration.verdict != "ok":
        found.append(("warning", "suspect run", _reason(result)))
    found += [("warning", "failed trials", text) for text in _failures(result)]
    found.append(("notice", "smallest bench", advice(result)))
    return "".join(_command(*each) for each in found)


def _command(kind: str, title: str, message: str) -> str:
    """Format a workflow command. `%` begins its escapes; `:` and `,` end a property."""
    title, message = (printable(text, MAX_LENGTH).replace("%", "%25") for text in (title, message))
    title = title.replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title={title}::{message}\n"


def to_openmetrics(result: Result) -> str:
    """Render gauges in the text format of OpenMetrics, which Prometheus's older format contains.

    Quantiles 0 and 1 are minimum and maximum; one that would be the maximum is absent. Times are in seconds.
    """
    families: dict[str, list[tuple[dict[str, str], float]]] = {"trials": [], "threshold_met": []}
    for arm in result.arms:
        counts = {"ok": arm.ok} | arm.errors
        families["trials"] += [({"arm": arm.id, "outcome": name}, count) for name, count in counts.items()]
        for metric, found in arm.metrics.items():
            unit, divisor = BASE_UNITS.get(found.unit, (found.unit.lower(), 1.0))
            names = {share: name for name, share in QUANTILES.items() if found.n >= fewest_for(share)}
            shares = {share: found.quantile(name).v for share, name in names.items()}
            for share, value in sorted((shares | {0: found.min, 1: found.max}).items()):
                labels = {"arm": arm.id, "metric": metric, "quantile": f"{share:g}"}
                families.setdefault(unit, []).append((labels, value / divisor))
    passed = {(each.arm, each.expr): int(each.passed) for each in result.slo if not each.inconclusive}
    families["threshold_met"] += [({"arm": arm, "threshold": text}, v) for (arm, text), v in passed.items()]
    families["valid"] = [({"verdict": result.run.calibration.verdict}, int(result.exit != INVALID))]
    lines = []
    for name, samples in families.items():
        lines.append(f"# TYPE smallest_bench_{name} gauge")
        for labels, value in samples:
            shown = ",".join(f'{label}="{_label(text)}"' for label, text in labels.items())
            lines.append(f"smallest_bench_{name}{{{shown}}} {value:.9g}")
    return "\n".join([*lines, "# EOF"]) + "\n"


def _label(text: str) -> str:
    return printable(text, MAX_LENGTH).replace("\\", "\\\\").replace('"', '\\"')


def to_benchmark_action(result: Result) -> str:
    """Render the JSON that github-action-benchmark reads as `customSmallerIsBetter`."""
    found: list[dict[str, Any]] = []
    for arm in result.arms:
        extra = f"{arm.ok} of {arm.n} ok; errors: {format.error_counts(arm)}"
        for metric, name in product(SMALLER_IS_BETTER, PLOTTED):
            summary = arm.metrics.get(metric)
            if summary is None or summary.n < fewest_for(QUANTILES[name]):
                continue
            figure, unit = summary.quantile(name), summary.unit
            entry = {"name": f"{arm.id} {metric} {name}", "unit": unit, "value": figure.v}
            found.append(entry | {"range": format.interval(figure, unit), "extra": extra})
        entry = {"name": f"{arm.id} error_rate", "unit": "%", "value": 100 * arm.error_rate}
        found.append(entry | {"extra": extra})
    return json.dumps(found, indent=1) + "\n"
