"""Render a result as one self-contained HTML file: no script, no network resources, light and dark theme."""

from __future__ import annotations

import json
from importlib import resources

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from smallest_cli.bench.report import format
from smallest_cli.bench.report.advice import advice
from smallest_cli.bench.report.charts import (
    MAX_LENGTH,
    colour,
    distributions,
    drift,
    smoothness,
    timelines,
)
from smallest_cli.bench.schema import Result
from smallest_cli.security import printable

TEMPLATE = "report.html.j2"
DISTRIBUTION_NOTE = (
    "Share of trials with audio within a time in ms, on a logarithmic axis. Dots: p50, p95 and p99."
)
DRIFT_NOTE = "In ms, in the order of the run: a trend or a step means that the conditions changed meanwhile."
TIMELINE_NOTE = "Connecting, waiting and arrivals; under them the audio that arrived; dashed: the end marker."
BUFFER_NOTE = "Share of trials that play without a stall, by how long the player waits after the first audio."


def to_html(result: Result) -> str:
    """Render the page. It embeds its figures as JSON, in an element with the id `figures`."""
    arms = result.arms
    metric = format.OVERVIEW_COLUMNS[result.run.load.model][0][0]
    figures = {arm.id: {name: found.p50.v for name, found in arm.metrics.items()} for arm in arms}
    since = "the scheduled time" if metric == "ttfb_e2e" else "sending"
    # The charts escape their texts.
    charts = (
        (f"Time to first audio byte, from {since}", DISTRIBUTION_NOTE, distributions(arms, metric)),
        ("Trials over time", DRIFT_NOTE, drift(arms, metric)),
        ("Median trial of each arm", TIMELINE_NOTE, timelines(arms, "median")),
        ("Worst trial of each arm", TIMELINE_NOTE, timelines(arms, "worst")),
        ("How much to buffer", BUFFER_NOTE, smoothness(arms)),
    )
    # Strings in a result come from servers and files: autoescape protects the browser, `printable` a
    # terminal to which the page is printed.
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else printable(value, MAX_LENGTH),
    )
    template = environment.from_string(resources.files(__package__).joinpath(TEMPLATE).read_text("utf-8"))
    return template.render(
        format=format,
        result=result,
        run=result.run,
        advice=advice(result),
        columns=format.OVERVIEW_COLUMNS[result.run.load.model],
        used=dict.fromkeys(name for arm in arms for name in arm.metrics),
        colour=colour,
        charts=[(title, note, Markup(drawn)) for title, note, drawn in charts if drawn],  # noqa: S704
        figures=Markup(json.dumps(figures).replace("<", "\\u003c")),  # noqa: S704 - JSON in a data element
    )
