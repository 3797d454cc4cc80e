"""Render a result as one self-contained HTML file: no script, no network resources, light and dark theme."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from smallest_cli.bench.compare import RunComparison, arms_of
from smallest_cli.bench.report import charts, format
from smallest_cli.bench.report.advice import advice
from smallest_cli.bench.report.overlay import overlay
from smallest_cli.bench.schema import Result
from smallest_cli.security import printable


def to_html(result: Result) -> str:
    """Render the page. It embeds its figures as JSON, in an element with the id `figures`."""
    arms = result.arms
    metric = format.OVERVIEW_COLUMNS[result.run.load.model][0][0]
    figures = {arm.id: {name: found.p50.v for name, found in arm.metrics.items()} for arm in arms}
    drawn = {name: charts.timelines(arms, name) for name in ("median", "worst")}
    drawn["distributions"], drawn["drift"] = charts.distributions(arms, metric), charts.drift(arms, metric)
    drawn["smoothness"] = charts.smoothness(arms)
    return fill_template(
        "report.html.j2",
        result=result,
        run=result.run,
        advice=advice(result),
        columns=format.OVERVIEW_COLUMNS[result.run.load.model],
        used=dict.fromkeys(name for arm in arms for name in arm.metrics),
        colour=charts.colour,
        since="the scheduled time" if metric == "ttfb_e2e" else "sending",
        sweeps=[(sweep, Markup(charts.sweep_chart(sweep))) for sweep in result.sweep or ()],  # noqa: S704
        charts={name: Markup(svg) for name, svg in drawn.items()},  # noqa: S704 - they escape their texts
        figures=Markup(json.dumps(figures).replace("<", "\\u003c")),  # noqa: S704 - JSON in a data element
    )


def comparison_to_html(compared: RunComparison, first: Result, second: Result) -> str:
    """Render the page of a comparison of the results `first` (A) and `second` (B)."""
    pairs = [(row, *arms_of(row, first, second)) for row in compared.comparisons]
    return fill_template(
        "compare.html.j2",
        compared=compared,
        runs=[("A", first.run), ("B", second.run)],
        medians=[(a.metrics[row.metric].p50, b.metrics[row.metric].p50) for row, a, b in pairs],
        missing=map(format.not_compared_text, compared.not_compared),
        charts=[
            overlay(
                f"{row.arm}  {row.metric} ({row.unit})", a.samples.of(row.metric), b.samples.of(row.metric)
            )
            for row, a, b in pairs
        ],
    )


def fill_template(name: str, **values: Any) -> str:
    """Fill a template of this package. Texts are escaped for HTML and XML, and made printable.

    Strings in a result come from servers and files: autoescape protects their reader, `printable` a terminal
    to which the page is printed. It leaves no character that XML forbids.
    """
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: value if isinstance(value, Markup) else printable(value, charts.MAX_LENGTH),
    )
    template = resources.files(__package__).joinpath(name).read_text("utf-8")
    return environment.from_string(template).render(format=format, **values)
