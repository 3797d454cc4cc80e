"""Render a result as one self-contained HTML file: no script, no network resources, light and dark theme."""

from __future__ import annotations

import json
from importlib import resources

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from smallest_cli.bench.report import format
from smallest_cli.bench.report.advice import advice
from smallest_cli.bench.report.charts import MAX_LENGTH, distributions, smoothness, sweep_chart, waterfall
from smallest_cli.bench.schema import Result
from smallest_cli.security import printable

TEMPLATE = "report.html.j2"


def to_html(result: Result) -> str:
    """Render the page. It embeds its figures as JSON, in an element with the id `figures`."""
    arms = result.arms
    metric = format.OVERVIEW_COLUMNS[result.run.load.model][0][0]
    figures = {arm.id: {name: found.p50.v for name, found in arm.metrics.items()} for arm in arms}
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
        since=", from the scheduled time" if metric == "ttfb_e2e" else "",
        distributions=Markup(distributions(arms, metric)),  # noqa: S704 - charts escape their texts
        smoothness=Markup(smoothness(arms)),  # noqa: S704
        sweeps=[(sweep, Markup(sweep_chart(sweep))) for sweep in result.sweep or ()],  # noqa: S704
        waterfalls={arm.id: Markup(waterfall(arm)) for arm in arms},  # noqa: S704
        figures=Markup(json.dumps(figures).replace("<", "\\u003c")),  # noqa: S704 - JSON in a data element
    )
